"""MCP_SESSIONS=durable: transport sessions recorded in Redis by mcp-persist, so that another task can adopt them.

mcp-persist (2.2.0) serves the SDK's own MCPServer alone; its `with_persistence` does not know fastmcp's. Its session
manager does work for both, so here it takes the place of fastmcp's: the application is fastmcp's, with its routes and
middleware, and only what its lifespan would have made is made here.

What adoption brings over is a session's identity and its past events. What a task was doing stays there: an answer to
a server's request that reaches another task is accepted and dropped, and a stream on another task hears nothing new.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastmcp import FastMCP
from fastmcp.server.http import StarletteWithLifespan, StreamableHTTPASGIApp
from mcp.server.transport_security import TransportSecuritySettings
from mcp_persist import RedisEventStore, ResumableSessionManager
from mcp_persist.sessions import RedisSessionRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from server.settings import Settings

# Not mcp-persist's own "mcp:": it would keep its session:<id> where the tools' state of the same id is.
KEY_PREFIX = "mcp:durable:"
SOCKET_TIMEOUT_S = 1.0


def durable_app(mcp: FastMCP, settings: Settings, *, path: str, middleware: list[Middleware]) -> StarletteWithLifespan:
    """fastmcp's application with sessions that any task can adopt. `settings` has a `redis_url`."""
    app = mcp.http_app(path=path, middleware=middleware, json_response=settings.json_response, stateless_http=False)
    endpoint = _endpoint(app, path)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with RedisEventStore.create(
            str(settings.redis_url),
            key_prefix=KEY_PREFIX,
            ttl=settings.session_ttl_s,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
        ) as events:
            manager = ResumableSessionManager(
                app=mcp._mcp_server,
                event_store=events,
                registry=RedisSessionRegistry(events, ttl=settings.session_ttl_s),
                json_response=settings.json_response,
                # As fastmcp sets it: the guard of hosts and origins is its own.
                security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            )
            endpoint.session_manager = manager
            # fastmcp's lifespan would end each session here before the manager knows that the task is going: recorded
            # as ended by its client, no other task would adopt it.
            async with manager.run():
                yield

    app.router.lifespan_context = lifespan
    return app


def _endpoint(app: Starlette, path: str) -> StreamableHTTPASGIApp:
    for route in app.routes:
        if isinstance(route, Route) and route.path == path and isinstance(route.endpoint, StreamableHTTPASGIApp):
            return route.endpoint
    raise RuntimeError(f"fastmcp has no endpoint of its own at {path} any more: adapt server/durable_sessions.py")
