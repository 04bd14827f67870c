"""The tools as a client sees them, in every mode a client can reach them in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastmcp import Client
from mcp_types import TextContent
from server_in_process import MODERN, TASK_ID, modern, open_session, serving
from server_process import answers, error_text, result, tool_call

from rollproof.orchestrator.redis_server import RedisServer
from server.app import create_server
from server.memory_store import InMemorySessionStore
from server.settings import Settings


@pytest.fixture
async def in_memory() -> AsyncIterator[Client[Any]]:
    store = InMemorySessionStore(ttl_s=60, idempotency_ttl_s=60)
    async with Client(create_server(Settings(app_version="v7"), store, TASK_ID), mode="legacy") as client:
        yield client


async def call(client: Client[Any], tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert answer.structured_content is not None
    return answer.structured_content


async def refusal(client: Client[Any], tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments, raise_on_error=False)
    assert answer.is_error
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


async def test_the_tools_say_what_a_client_may_repeat(in_memory: Client[Any]) -> None:
    tools = {tool.name: tool for tool in await in_memory.list_tools()}
    of_state = {"create_session", "end_session", "set_session_value", "get_session_state", "increment"}
    assert set(tools) == {"ping", "whoami", "slow", "confirm", "sample", "roots", "announce"} | of_state
    assert all(tool.description and tool.output_schema for tool in tools.values())
    hints = {name: tool.annotations.idempotent_hint for name, tool in tools.items() if tool.annotations}
    assert (hints["set_session_value"], hints["increment"]) == (True, False)


async def test_ping_names_the_task_and_its_version(in_memory: Client[Any]) -> None:
    answer = await call(in_memory, "ping")
    assert (answer["task_id"], answer["version"]) == (TASK_ID, "v7")
    assert 0 <= answer["duration_ms"] < 1000


async def test_a_session_accumulates_what_is_written(in_memory: Client[Any]) -> None:
    assert (await refusal(in_memory, "get_session_state")).startswith("unknown session")
    await call(in_memory, "set_session_value", key="seq_1", value="call_1")
    written = await call(in_memory, "set_session_value", key="seq_2", value="call_2")
    read = await call(in_memory, "get_session_state")
    assert read == written
    assert read.pop("session_id")
    assert read == {
        "task_id": TASK_ID,
        "version": "v7",
        "state": {"seq_1": "call_1", "seq_2": "call_2"},
        "state_size": 2,
    }


@pytest.mark.parametrize("value", ["12", 12, 1.5, True])
async def test_a_value_keeps_its_type_on_the_way(value: object, in_memory: Client[Any]) -> None:
    state = (await call(in_memory, "set_session_value", key="k", value=value))["state"]
    assert (state["k"], type(state["k"])) == (value, type(value))


async def test_increment_adds_unless_its_key_is_known(in_memory: Client[Any]) -> None:
    first = await call(in_memory, "increment")
    assert (first["name"], first["value"], first["replayed"], first["state_size"]) == ("counter", 1, False, 1)
    assert (await call(in_memory, "increment"))["value"] == 2
    assert (await call(in_memory, "increment", by=10, idempotency_key="k"))["value"] == 12
    replay = await call(in_memory, "increment", by=10, idempotency_key="k")
    assert (replay["value"], replay["replayed"], replay["state"]) == (12, True, {"counter": 12})
    assert "already used" in await refusal(in_memory, "increment", by=11, idempotency_key="k")
    await call(in_memory, "set_session_value", key="word", value="x")
    assert "cannot be incremented" in await refusal(in_memory, "increment", name="word")


async def test_slow_reports_its_progress(in_memory: Client[Any]) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    answer = await in_memory.call_tool("slow", {"seconds": 0.02, "steps": 4}, progress_handler=note)
    assert answer.structured_content is not None
    assert answer.structured_content["steps"] == 4
    assert answer.structured_content["duration_ms"] >= 15
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("set_session_value", {"key": "", "value": "x"}),
        ("set_session_value", {"key": "k" * 129, "value": "x"}),
        ("set_session_value", {"key": "k", "value": "x" * 65_537}),
        ("set_session_value", {"key": "k", "value": {"not": "a scalar"}}),
        ("set_session_value", {"key": "k"}),
        ("increment", {"by": 10**10}),
        ("increment", {"idempotency_key": ""}),
        ("slow", {"seconds": 301}),
        ("slow", {"steps": 0}),
        ("no_such_tool", {}),
    ],
)
async def test_wrong_arguments_are_refused(tool: str, arguments: dict[str, Any], in_memory: Client[Any]) -> None:
    assert await refusal(in_memory, tool, **arguments)


# --- whose session: the modes of HTTP ---------------------------------------------------------------


@pytest.mark.parametrize("json_response", [False, True])
async def test_stateful_the_server_issues_the_session(json_response: bool) -> None:
    async with serving(Settings(json_response=json_response)) as client:
        session = await open_session(client)
        written = result(await client.post("/mcp", json=tool_call("increment"), headers=session))
        assert written["session_id"] == session["mcp-session-id"]
        who = result(await client.post("/mcp", json=tool_call("whoami"), headers=session))
        assert (who["session_id"], who["transport"], who["session_store"]) == (
            session["mcp-session-id"],
            "stateful",
            "memory",
        )
        assert who["protocol_version"] == "2025-11-25"


async def test_stateful_a_session_of_another_task_is_not_found() -> None:
    async with serving(Settings()) as one, serving(Settings()) as other:
        session = await open_session(one)
        response = await other.post("/mcp", json=tool_call("ping"), headers=session)
    assert response.status_code == httpx.codes.NOT_FOUND
    assert response.json() == {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}


async def test_stateless_the_clients_own_id_is_the_session() -> None:
    async with serving(Settings(stateless_http=True)) as client:
        session = {"mcp-session-id": f"client-{uuid.uuid4()}"}
        unread = await client.post("/mcp", json=tool_call("get_session_state"), headers=session)
        assert error_text(unread).startswith("unknown session")
        written = result(
            await client.post("/mcp", json=tool_call("set_session_value", key="a", value="b"), headers=session)
        )
        read = result(await client.post("/mcp", json=tool_call("get_session_state"), headers=session))
        assert (read["state"], read["session_id"]) == ({"a": "b"}, session["mcp-session-id"])
        assert read == written
        who = result(await client.post("/mcp", json=tool_call("whoami"), headers=session))
        assert (who["transport"], who["session_id"]) == ("stateless", session["mcp-session-id"])


async def test_stateless_without_an_id_the_state_tools_say_so() -> None:
    async with serving(Settings(stateless_http=True)) as client:
        for body in (
            tool_call("get_session_state"),
            tool_call("set_session_value", key="a", value="b"),
            tool_call("increment"),
        ):
            assert "carried no Mcp-Session-Id header" in error_text(await client.post("/mcp", json=body))
        assert result(await client.post("/mcp", json=tool_call("whoami")))["session_id"] is None
        assert (await client.get("/health")).json()["active_sessions"] == 0


@pytest.mark.parametrize("session_id", ["x" * 257, "a b"])
async def test_an_id_that_the_specification_forbids_is_refused(session_id: str) -> None:
    async with serving(Settings(stateless_http=True)) as client:
        response = await client.post("/mcp", json=tool_call("increment"), headers={"mcp-session-id": session_id})
    assert "at most 256 visible ASCII characters" in error_text(response)


@pytest.mark.parametrize("stateless", [False, True])
async def test_modern_a_header_of_the_client_is_its_session_and_without_one_there_is_none(stateless: bool) -> None:
    async with serving(Settings(stateless_http=stateless)) as client:
        assert "carried no Mcp-Session-Id" in error_text(await client.post("/mcp", **modern("increment")))
        own = modern("increment")
        own["headers"]["mcp-session-id"] = "client-1"
        assert [result(await client.post("/mcp", **own))["value"] for _ in range(2)] == [1, 2]
        assert result(await client.post("/mcp", **modern("whoami")))["protocol_version"] == MODERN


async def test_in_memory_modern_clients_have_no_session_either() -> None:
    store = InMemorySessionStore(ttl_s=60, idempotency_ttl_s=60)
    async with Client(create_server(Settings(), store, TASK_ID)) as client:
        assert "no session id" in await refusal(client, "increment")


async def test_a_hundred_concurrent_increments_all_count(redis_server: RedisServer) -> None:
    async with serving(Settings(stateless_http=True, redis_url=redis_server.url)) as client:
        session = {"mcp-session-id": f"client-{uuid.uuid4()}"}
        responses = await asyncio.gather(
            *(client.post("/mcp", json=tool_call("increment"), headers=session) for _ in range(100))
        )
        assert sorted(result(response)["value"] for response in responses) == list(range(1, 101))


# --- health ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/healthz"])
async def test_health_says_who_answers_and_where_sessions_live(path: str) -> None:
    async with serving(Settings(stateless_http=True, app_version="v7")) as client:
        await client.post("/mcp", json=tool_call("increment"), headers={"mcp-session-id": "client-1"})
        response = await client.get(path)
    assert response.status_code == httpx.codes.OK
    assert response.json() == {
        "status": "healthy",
        "active_sessions": 1,
        "session_store": "memory",
        "session_store_reachable": True,
        "version": "v7",
        "task_id": TASK_ID,
    }


async def test_a_redis_outage_is_told_to_clients_and_does_not_make_the_task_unhealthy(own_redis: RedisServer) -> None:
    async with serving(Settings(stateless_http=True, redis_url=own_redis.url)) as client:
        session = {"mcp-session-id": "client-1"}
        assert result(await client.post("/mcp", json=tool_call("increment"), headers=session))["value"] == 1
        await own_redis.kill()
        refused, health, ping = await asyncio.gather(
            client.post("/mcp", json=tool_call("increment"), headers=session),
            client.get("/health"),
            client.post("/mcp", json=tool_call("ping")),
        )
        assert error_text(refused).startswith("session store is unavailable: it did not answer (ConnectionError)")
        assert "Traceback" not in refused.text
        assert health.status_code == httpx.codes.OK
        assert health.json()["status"] == "healthy"
        assert (health.json()["session_store_reachable"], health.json()["active_sessions"]) == (False, None)
        assert result(ping)["task_id"] == TASK_ID
        await own_redis.restart()
        assert result(await client.post("/mcp", json=tool_call("increment"), headers=session))["value"] == 1
        assert (await client.get("/health")).json()["session_store_reachable"] is True


async def test_a_server_starts_while_redis_is_away(own_redis: RedisServer) -> None:
    await own_redis.kill()
    async with serving(Settings(stateless_http=True, redis_url=own_redis.url)) as client:
        assert (await client.get("/health")).json()["session_store_reachable"] is False
        assert result(await client.post("/mcp", json=tool_call("ping")))["task_id"] == TASK_ID


async def test_stateless_there_is_no_stream_to_open() -> None:
    async with serving(Settings(stateless_http=True)) as client:
        assert (await client.get("/mcp")).status_code == httpx.codes.METHOD_NOT_ALLOWED


async def test_a_first_call_answers_as_an_event_stream_with_its_progress() -> None:
    async with serving(Settings(stateless_http=True)) as client:
        response = await client.post("/mcp", json=tool_call("slow", seconds=0.01, steps=2))
    methods = [answer.get("method") for answer in answers(response)]
    assert methods == ["notifications/progress", "notifications/progress", None]
