"""A task of the sample server without a network in between: one answer a request, and no request to the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from server_process import ACCEPT, initialize, tool_call

from server.app import create_app
from server.settings import Settings

TASK_ID = "0123456789abcdef0123456789abcdef"
MODERN = "2026-07-28"


@asynccontextmanager
async def serving(settings: Settings, task_id: str = TASK_ID) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    app = create_app(settings, task_id=task_id)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server", headers=ACCEPT) as client,
    ):
        yield client


async def open_session(client: httpx.AsyncClient) -> dict[str, str]:
    """The headers of a stateful session."""
    response = await client.post("/mcp", json=initialize())
    return {"mcp-session-id": response.headers["mcp-session-id"]}


def modern(tool: str, *, capabilities: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    """A call of the 2026-07-28 protocol: body and headers, to be unpacked into `post`."""
    body = tool_call(tool, **arguments)
    prefix = "io.modelcontextprotocol/"
    body["params"]["_meta"] = {f"{prefix}protocolVersion": MODERN, f"{prefix}clientCapabilities": capabilities or {}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
    return {"json": body, "headers": headers}
