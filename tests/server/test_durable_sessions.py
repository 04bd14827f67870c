"""Sessions that mcp-persist records: another task adopts them, with their identity, and without what was under way."""

from __future__ import annotations

import httpx
from fastmcp import Client
from server_in_process import open_session, serving
from server_process import initialize, result, tool_call
from server_tasks import replicas

from rollproof.orchestrator.redis_server import RedisServer
from server.settings import Settings


def durable(redis_server: RedisServer) -> Settings:
    return Settings(sessions="durable", redis_url=redis_server.url)


async def increment(client: httpx.AsyncClient, session: dict[str, str]) -> int:
    value: int = result(await client.post("/mcp", json=tool_call("increment"), headers=session))["value"]
    return value


async def test_any_task_serves_the_session_of_a_real_client(redis_server: RedisServer) -> None:
    async with (
        replicas(durable(redis_server), "task-a", "task-b") as url,
        Client(url, mode="legacy") as client,
    ):
        counted = [(await client.call_tool("increment", {})).structured_content or {} for _ in range(6)]
        who = (await client.call_tool("whoami", {})).structured_content or {}
    assert [each["value"] for each in counted] == [1, 2, 3, 4, 5, 6]
    assert {each["task_id"] for each in counted} == {"task-a", "task-b"}
    assert (who["transport"], who["protocol_version"]) == ("stateful", "2025-11-25")


async def test_a_task_that_stops_leaves_its_sessions_to_others(redis_server: RedisServer) -> None:
    async with serving(durable(redis_server)) as staying:
        async with serving(durable(redis_server)) as stopping:
            session = await open_session(stopping)
            assert await increment(stopping, session) == 1
        assert await increment(staying, session) == 2


async def test_a_session_that_its_client_ended_is_adopted_by_nobody(redis_server: RedisServer) -> None:
    async with serving(durable(redis_server)) as one, serving(durable(redis_server)) as other:
        session = await open_session(one)
        assert await increment(one, session) == 1
        assert (await one.delete("/mcp", headers=session)).status_code == httpx.codes.OK
        refused = await other.post("/mcp", json=tool_call("ping"), headers=session)
    assert (refused.status_code, refused.json()["error"]["message"]) == (404, "Session not found")


async def test_an_id_that_was_never_issued_is_not_found(redis_server: RedisServer) -> None:
    async with serving(durable(redis_server)) as client:
        refused = await client.post("/mcp", json=tool_call("ping"), headers={"mcp-session-id": "made-up"})
        assert refused.status_code == httpx.codes.NOT_FOUND
        assert "mcp-session-id" in (await client.post("/mcp", json=initialize())).headers
