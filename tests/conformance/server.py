"""The server that the conformance suite is run against: `python -m tests.conformance.server --sessions stateless ...`.

One FastMCP server with four ways to keep its sessions:

    sdk         fastmcp's own: a session lives in one replica's memory
    stateless   stateless HTTP, the tools' state in Redis
    durable     mcp-persist's durable sessions
    resilient   rollproof.sessions

The extras are configuration that every server of more than one replica needs for 2026-07-28, whatever its sessions:
`--request-state-key` (read from CONFORMANCE_REQUEST_STATE_KEY, so that `ps` does not show it) seals requestState with
one key on all replicas, and `--tasks redis` keeps tasks in Redis instead of one replica's memory.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import fastmcp
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.event_store import EventStore
from mcp.server.request_state import RequestStateSecurity
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.conformance import content, jobs, questions

SESSIONS = ("sdk", "stateless", "durable", "resilient")
PATH = "/mcp"
KEY_VARIABLE = "CONFORMANCE_REQUEST_STATE_KEY"
URL_VARIABLE = "CONFORMANCE_REDIS_URL"  # holds a password
GRACE_S = 10  # after SIGTERM, for calls in flight
EXIT_USAGE = 2


class Unusable(Exception):
    """These sessions cannot be had here; the message says what is missing."""


def create_server(*, redis_url: str = "", request_state_key: str = "", tasks: str = "memory") -> FastMCP:
    """The MCP side. `tasks`: "memory", "redis" or "none"."""
    security = RequestStateSecurity(keys=[request_state_key], audience="conformance") if request_state_key else None
    mcp = FastMCP("conformance", dereference_schemas=False, request_state_security=security, **_state_store(redis_url))
    content.register(mcp)
    questions.register(mcp)
    if tasks != "none":
        jobs.register(mcp, redis_url if tasks == "redis" else "memory://")
    mcp.custom_route("/health", ["GET"])(_health)
    return mcp


def _state_store(redis_url: str) -> dict[str, Any]:
    if not redis_url:
        return {}
    from key_value.aio.stores.redis import RedisStore

    return {"session_state_store": RedisStore(url=redis_url)}


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok")


RETRY_MS = 100  # what a client that polls is told to wait: the suite times it


def create_app(mcp: FastMCP, sessions: str, redis_url: str) -> Any:
    """The ASGI application. The guard of Host and Origin is what the suite asks of a server on localhost. Raises
    Unusable."""
    guarded = {"path": PATH, "host_origin_protection": True}
    match sessions:
        case "sdk":
            return mcp.http_app(**guarded, event_store=EventStore(), retry_interval=RETRY_MS)
        case "stateless":
            return mcp.http_app(**guarded, stateless_http=True)
        case "durable":
            return _durable(mcp, redis_url)
        case _:
            ours = _imported("rollproof.sessions")
            options = ours.Options(namespace="conformance", retry_ms=RETRY_MS)
            return ours.resilient(mcp, redis_url, options=options, **guarded)


def _durable(mcp: FastMCP, redis_url: str) -> Any:
    from server.settings import Settings

    fastmcp.settings.http_host_origin_protection = True  # it passes no such thing on
    settings = Settings(redis_url=redis_url, sessions="durable")
    return _imported("server.durable_sessions").durable_app(mcp, settings, path=PATH, middleware=[])


def _imported(module: str) -> Any:
    """Only where it is asked for: it may not be there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unusable(f"no {module}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.server")
    parser.add_argument("--sessions", choices=SESSIONS, default="sdk")
    parser.add_argument("--redis-url", default=os.environ.get(URL_VARIABLE, ""), help=f"default: ${URL_VARIABLE}")
    parser.add_argument("--request-state-key", default=os.environ.get(KEY_VARIABLE, ""), help=f"${KEY_VARIABLE}")
    parser.add_argument("--tasks", choices=("memory", "redis", "none"), default="memory")
    parser.add_argument("--port", type=int, default=8000)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    given = _parser().parse_args(arguments)
    if not given.redis_url and (given.sessions in ("durable", "resilient") or given.tasks == "redis"):
        sys.stderr.write(f"server: this needs a Redis\nhint: --redis-url, or {URL_VARIABLE}\n")
        return EXIT_USAGE
    # The stock server keeps its state in memory, as its users have it.
    state_url = "" if given.sessions == "sdk" and given.tasks != "redis" else given.redis_url
    try:
        mcp = create_server(redis_url=state_url, request_state_key=given.request_state_key, tasks=given.tasks)
        app = create_app(mcp, given.sessions, given.redis_url)
    except (Unusable, ModuleNotFoundError) as error:
        sys.stderr.write(f"server: {error}\nhint: other --sessions, or --tasks none\n")
        return EXIT_USAGE
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", timeout_graceful_shutdown=GRACE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
