"""The ASGI application around the MCP server: who keeps its transport sessions, and where."""

from __future__ import annotations

from fastmcp import FastMCP
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.minted_sessions import MintedSessions
from server.session_store import SessionStore
from server.settings import Settings, SettingsError
from server.shutdown import Drain


def create_transport(
    mcp: FastMCP, settings: Settings, store: SessionStore, drain: Drain, *, path: str, middleware: list[Middleware]
) -> Starlette:
    """The application that MCP_SESSIONS names. Raises SettingsError where what it needs is not installed."""
    match settings.sessions:
        case "durable":
            return _durable(mcp, settings, path, middleware)
        case "resilient":
            return _resilient(mcp, settings, drain, path, middleware)
    if settings.mint_session_id:
        middleware = [*middleware, Middleware(MintedSessions, store=store, path=path)]
    return mcp.http_app(
        path=path,
        middleware=middleware,
        json_response=settings.json_response,
        stateless_http=settings.stateless_http,
    )


def _durable(mcp: FastMCP, settings: Settings, path: str, middleware: list[Middleware]) -> Starlette:
    try:
        from server.durable_sessions import durable_app  # noqa: PLC0415 - mcp-persist is not part of every image
    except ModuleNotFoundError as error:
        needs = "mcp-persist: pip install 'rollproof[durable]', or build the image with --build-arg EXTRA=durable"
        raise _not_installed("durable", error, needs) from error
    return durable_app(mcp, settings, path=path, middleware=middleware)


def _resilient(mcp: FastMCP, settings: Settings, drain: Drain, path: str, middleware: list[Middleware]) -> Starlette:
    try:
        from rollproof.sessions import Options, resilient  # noqa: PLC0415 - the other two do without it
    except ModuleNotFoundError as error:
        needs = "rollproof: pip install rollproof, or build the image from the root of its repository"
        raise _not_installed("resilient", error, needs) from error
    options = Options(session_ttl_s=settings.session_ttl_s, drain_s=settings.shutdown_grace_s)
    app = resilient(
        mcp,
        str(settings.redis_url),
        path=path,
        middleware=middleware,
        json_response=settings.json_response,
        secret=settings.request_state_key,
        handle_signals=False,  # `server.shutdown` does, and says when
        options=options,
    )

    def drain_sessions() -> None:
        if hasattr(app.state, "sessions"):  # not before the application has started
            app.state.sessions.drain()

    drain.call_at_begin(drain_sessions)
    return app


def _not_installed(sessions: str, error: ModuleNotFoundError, needs: str) -> SettingsError:
    problem = f"MCP_SESSIONS={sessions!r} is not allowed here: there is no {error.name!r} in this installation"
    return SettingsError([f"{problem}. It needs {needs}"])
