"""A stateless server that issues session ids: clients that know nothing of it keep their state across tasks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastmcp import Client
from server_in_process import modern, serving
from server_process import error_text, initialize, result, tool_call
from server_tasks import replicas
from starlette.applications import Starlette

from rollproof.orchestrator.redis_server import RedisServer
from server.memory_store import InMemorySessionStore
from server.minted_sessions import MintedSessions
from server.session_store import StoreUnavailable
from server.settings import Settings

MINTING = Settings(stateless_http=True, mint_session_id=True)


async def test_an_unmodified_client_keeps_its_state_across_tasks(redis_server: RedisServer) -> None:
    settings = replace(MINTING, redis_url=redis_server.url)
    async with replicas(settings, "task-a", "task-b") as url, Client(url, mode="legacy") as client:
        counted: list[dict[str, Any]] = [
            (await client.call_tool("increment", {})).structured_content or {} for _ in range(6)
        ]
    assert [each["value"] for each in counted] == [1, 2, 3, 4, 5, 6]
    assert {each["task_id"] for each in counted} == {"task-a", "task-b"}
    assert len({each["session_id"] for each in counted}) == 1


async def test_ids_are_minted_for_initialize_alone_and_cannot_be_guessed() -> None:
    async with serving(MINTING) as client:
        opened = [await client.post("/mcp", json=initialize()) for _ in range(20)]
        ids = [response.headers["mcp-session-id"] for response in opened]
        assert len(set(ids)) == 20
        assert all(len(each) >= 43 for each in ids)  # 32 bytes in base64
        own = await client.post("/mcp", json=initialize(), headers={"mcp-session-id": "client-1"})
        later = await client.post("/mcp", json=tool_call("ping"), headers={"mcp-protocol-version": "2025-11-25"})
        of_2026 = await client.post("/mcp", **modern("ping"))
        refused = await client.post("/mcp", content=b"not JSON", headers={"content-type": "application/json"})
        for response in (own, later, of_2026, refused, await client.get("/health")):
            assert "mcp-session-id" not in response.headers
        assert refused.status_code == httpx.codes.BAD_REQUEST


async def test_without_the_setting_a_stateless_server_issues_no_id() -> None:
    async with serving(replace(MINTING, mint_session_id=False)) as client:
        assert "mcp-session-id" not in (await client.post("/mcp", json=initialize())).headers
        response = await client.request("DELETE", "/mcp", headers={"mcp-session-id": "client-1"})
        assert response.status_code == httpx.codes.METHOD_NOT_ALLOWED


async def test_delete_ends_the_state_at_every_task(redis_server: RedisServer) -> None:
    settings = replace(MINTING, redis_url=redis_server.url)
    async with serving(settings) as one, serving(settings) as other:
        session = {"mcp-session-id": (await one.post("/mcp", json=initialize())).headers["mcp-session-id"]}
        assert result(await one.post("/mcp", json=tool_call("increment"), headers=session))["value"] == 1
        assert (await other.delete("/mcp", headers=session)).status_code == httpx.codes.OK
        told = error_text(await one.post("/mcp", json=tool_call("get_session_state"), headers=session))
    assert told.startswith("unknown session")


class AwayStore(InMemorySessionStore):
    async def end(self, session_id: str) -> bool:
        raise StoreUnavailable("it did not answer (ConnectionError)")


async def test_delete_without_the_store_is_an_error_that_says_so() -> None:
    app = MintedSessions(Starlette(), store=AwayStore(ttl_s=60, idempotency_ttl_s=60), path="/mcp")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        response = await client.delete("/mcp", headers={"mcp-session-id": "client-1"})
    assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert response.json()["error"]["message"].startswith("session store is unavailable: it did not answer")


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_a_client_of_any_version_gets_an_id_that_it_can_use(version: str) -> None:
    hello = initialize()
    hello["params"]["protocolVersion"] = version
    async with serving(MINTING) as client:
        opened = await client.post("/mcp", json=hello)
        # What clients older than 2025-06-18 send: the id alone.
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        counted = await asyncio.gather(
            *(client.post("/mcp", json=tool_call("increment"), headers=session) for _ in range(3))
        )
    assert sorted(result(response)["value"] for response in counted) == [1, 2, 3]
