"""All that is touched of fastmcp and mcp beyond what they document. It is checked when this is imported.

Serving a request needs no private name: `serve_one`, `Connection` and `DispatchContext` are exported. Putting that into
the application which fastmcp builds does: where its session manager is held, the lifespan's state, the state store.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.auth.middleware import RequireAuthMiddleware
from fastmcp.server.http import StarletteWithLifespan, StreamableHTTPASGIApp
from key_value.aio.stores.redis import RedisStore
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from redis.asyncio import Redis
from starlette.routing import Route

from rollproof.sessions.options import SessionsError

TESTED = {"fastmcp": (4, 1), "mcp": (2, 3)}
"""Major and minor versions that this was tested with."""

_LEVEL_IS_KEPT = "_fastmcp_log_level_cleanup_registered"


def check_versions() -> None:
    """Raises SessionsError where an installed version is not one of those tested."""
    for package, tested in TESTED.items():
        installed = version(package)
        if tuple(int(part) for part in installed.split(".")[:2]) != tested:
            raise SessionsError(
                f"rollproof.sessions was tested with {package} {tested[0]}.{tested[1]}.x, not with {installed}: "
                f"it touches private names of it. Install {package}=={tested[0]}.{tested[1]}.*"
            )
    probe = FastMCP("probe")
    missing = [
        name
        for holder, name in (
            (StreamableHTTPSessionManager, "_handle_request"),
            (FastMCP, "_state_store"),
            (probe, "_mcp_server"),
            (probe, "_state_storage"),
            (probe, "_request_state_security"),
            (probe, "_client_log_levels"),
            (StreamableHTTPASGIApp(None), "session_manager"),
        )
        if not hasattr(holder, name)
    ]
    if missing:
        raise SessionsError(f"this fastmcp {version('fastmcp')} has no {', '.join(missing)}: install a tested version")


def find_endpoint(app: StarletteWithLifespan) -> StreamableHTTPASGIApp:
    """The object that hands requests to the session manager. Raises SessionsError if `app` has none."""
    for endpoint in _endpoints(app):
        inner = endpoint.app if isinstance(endpoint, RequireAuthMiddleware) else endpoint
        if isinstance(inner, StreamableHTTPASGIApp):
            return inner
    raise SessionsError("this application has no Streamable HTTP endpoint of fastmcp")


def _endpoints(app: StarletteWithLifespan) -> Iterator[Any]:
    return (route.endpoint for route in app.routes if isinstance(route, Route))


def manager_of(endpoint: StreamableHTTPASGIApp) -> StreamableHTTPSessionManager:
    """Within the lifespan. Raises SessionsError before it."""
    if endpoint.session_manager is None:
        raise SessionsError("fastmcp's session manager was not started: the application's lifespan has to run")
    return endpoint.session_manager


def lifespan_state(manager: StreamableHTTPSessionManager) -> Any:
    return manager._lifespan_state


def share_request_state(mcp: FastMCP[Any], server: Server[Any], key: bytes, audience: str) -> None:
    """Have multi-round-trip state (SEP-2322) sealed with `key` on every replica, unless the server brings its own."""
    if mcp._request_state_security is not None:
        return
    boundary = RequestStateBoundary(RequestStateSecurity(keys=[key], audience=audience), default_audience=audience)
    for position, middleware in enumerate(server.middleware):
        if isinstance(middleware, RequestStateBoundary):
            server.middleware[position] = boundary
            return
    raise SessionsError("the server has no RequestStateBoundary whose key could be shared")


def share_state_store(mcp: FastMCP[Any], client: Redis) -> None:
    """Have `ctx.set_state` write to Redis, unless the server brings a store of its own."""
    if mcp._state_storage is None:
        mcp._state_storage = RedisStore(client=client)


def has_name_of_its_own(mcp: FastMCP[Any]) -> bool:
    """fastmcp names an unnamed server at random: another name on each replica."""
    return not mcp.name.startswith(("FastMCP-", "FastMCP "))


def set_log_level(mcp: FastMCP[Any], connection: Connection, session_id: str, level: str | None) -> None:
    """What the session asked for with logging/setLevel, on a replica that did not hear it."""
    connection.state[_LEVEL_IS_KEPT] = True  # else fastmcp forgets it at the end of the request
    if level is None:
        mcp._client_log_levels.pop(session_id, None)
    else:
        mcp._client_log_levels[session_id] = level  # type: ignore[assignment]


def forget_log_level(mcp: FastMCP[Any], session_id: str) -> None:
    mcp._client_log_levels.pop(session_id, None)


check_versions()
