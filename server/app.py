"""Puts the server together: `create_server` the MCP side, `create_app` the ASGI application around it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastmcp import FastMCP
from key_value.aio.stores.memory import MemoryStore
from mcp.server.request_state import RequestStateSecurity
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.call_log import CallLog
from server.client_tools import ClientTools
from server.health import Health
from server.logs import log_event
from server.session_store import SessionStore, create_session_store
from server.settings import Settings
from server.shutdown import Drain, DrainMiddleware
from server.task_metadata import find_task_id
from server.tool_schemas import publish_input_schemas
from server.tools import Tools
from server.transport import create_transport

MCP_PATH = "/mcp"


def create_server(settings: Settings, store: SessionStore, task_id: str) -> FastMCP:
    """The MCP server with its tools. It closes `store` when its lifespan ends."""

    @asynccontextmanager
    async def lifespan(server: FastMCP) -> AsyncIterator[dict[str, Any]]:
        await publish_input_schemas(server)
        status = await store.status()
        if not status.reachable:
            # It starts all the same: a task that waits for Redis helps nobody, and Redis may come back.
            log_event("session_store_unreachable", level=logging.WARNING, session_store=store.name, task_id=task_id)
        try:
            yield {}
        finally:
            await store.close()

    key = settings.request_state_key
    mcp = FastMCP(
        "stateful-mcp-server",  # a name of its own, the same on every task
        version=settings.app_version,
        lifespan=lifespan,
        middleware=[CallLog(task_id)],
        mask_error_details=True,
        # fastmcp's default for its own per-session state, which no tool here uses. Left out, it is imported during
        # the first call: a quarter of a second that the first client of every new task would wait.
        session_state_store=MemoryStore(),
        request_state_security=None if key is None else RequestStateSecurity(keys=[key]),
    )
    Tools(task_id, settings.app_version, store, settings.stateless_http, settings.require_session_id).register(mcp)
    ClientTools(task_id, settings.app_version, settings.stateless_http).register(mcp)
    return mcp


def create_app(
    settings: Settings | None = None, *, task_id: str | None = None, drain: Drain | None = None
) -> Starlette:
    """The ASGI application: /mcp, /health and /healthz.

    Without arguments it configures itself from the environment (`uvicorn --factory server.app:create_app`).
    Raises SettingsError.
    """
    settings = Settings.from_environment(os.environ) if settings is None else settings
    task_id = find_task_id(settings.metadata_uri) if task_id is None else task_id
    drain = Drain() if drain is None else drain
    store = create_session_store(settings)
    mcp = create_server(settings, store, task_id)
    Health(task_id, settings.app_version, store, drain).register(mcp)
    drained = Middleware(DrainMiddleware, drain=drain, path=MCP_PATH)
    return create_transport(mcp, settings, store, drain, path=MCP_PATH, middleware=[drained])
