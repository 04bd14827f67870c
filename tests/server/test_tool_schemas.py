"""A call of 2026-07-28 must not cost a listing of all tools."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastmcp.server.middleware import Middleware
from server_in_process import MODERN, TASK_ID, modern
from server_process import ACCEPT, result

from server.app import create_server
from server.memory_store import InMemorySessionStore
from server.settings import Settings


class CountListings(Middleware):
    def __init__(self) -> None:
        self.count = 0

    async def on_list_tools(self, context: Any, call_next: Any) -> Any:
        self.count += 1
        return await call_next(context)


@pytest.mark.parametrize(("is_published", "listings"), [(True, 0), (False, 3)])
async def test_a_call_with_arguments_lists_tools_only_where_their_schemas_are_not_published(
    is_published: bool, listings: int
) -> None:
    counter = CountListings()
    mcp = create_server(Settings(), InMemorySessionStore(ttl_s=60, idempotency_ttl_s=60), TASK_ID)
    mcp.add_middleware(counter)
    app = mcp.http_app(path="/mcp")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server", headers=ACCEPT) as client,
    ):
        if not is_published:
            mcp._mcp_server.get_tool_input_schema = None
        for seconds in (0.0, 0.001, 0.002):
            assert result(await client.post("/mcp", **modern("slow", seconds=seconds, steps=1)))["steps"] == 1
        assert counter.count == listings


async def test_what_is_published_is_what_tools_list_shows() -> None:
    mcp = create_server(Settings(), InMemorySessionStore(ttl_s=60, idempotency_ttl_s=60), TASK_ID)
    app = mcp.http_app(path="/mcp")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server", headers=ACCEPT) as client,
    ):
        listing = modern("")
        listing["json"] |= {"method": "tools/list"}
        listing["json"]["params"] = {"_meta": listing["json"]["params"]["_meta"]}
        listing["headers"] = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
        tools = (await client.post("/mcp", **listing)).json()["result"]["tools"]
        look_up = mcp._mcp_server.get_tool_input_schema
        assert look_up is not None
        assert {tool["name"]: tool["inputSchema"] for tool in tools} == {
            tool["name"]: look_up(tool["name"]) for tool in tools
        }
        assert look_up("no_such_tool") is None
