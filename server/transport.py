"""The ASGI application around the MCP server: who keeps its transport sessions, and where."""

from __future__ import annotations

import importlib

from fastmcp import FastMCP
from starlette.applications import Starlette
from starlette.middleware import Middleware

from server.minted_sessions import MintedSessions
from server.session_store import SessionStore
from server.settings import Settings, SettingsError


def create_transport(
    mcp: FastMCP, settings: Settings, store: SessionStore, *, path: str, middleware: list[Middleware]
) -> Starlette:
    """The application that MCP_SESSIONS names. Raises SettingsError where what it needs is not installed."""
    match settings.sessions:
        case "durable":
            return _durable(mcp, settings, path, middleware)
        case "resilient":
            return _resilient(mcp, settings, path, middleware)
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
        raise _not_installed("durable", error, "mcp-persist", "--build-arg EXTRA=durable") from error
    return durable_app(mcp, settings, path=path, middleware=middleware)


def _resilient(mcp: FastMCP, settings: Settings, path: str, middleware: list[Middleware]) -> Starlette:
    try:
        sessions = importlib.import_module("rollproof.sessions")
    except ModuleNotFoundError as error:
        raise _not_installed("resilient", error, "rollproof", "--build-context at the repository's root") from error
    app: Starlette = sessions.resilient(
        mcp,
        settings.redis_url,
        path=path,
        middleware=middleware,
        json_response=settings.json_response,
        request_state_key=settings.request_state_key,
    )
    return app


def _not_installed(sessions: str, error: ModuleNotFoundError, package: str, build: str) -> SettingsError:
    return SettingsError(
        [
            f"MCP_SESSIONS={sessions!r} is not allowed here: there is no {error.name!r} in this installation. "
            f"Install {package}, or build the image with {build}"
        ]
    )
