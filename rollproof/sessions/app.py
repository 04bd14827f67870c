"""Puts the layer into the application that fastmcp builds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.http import StarletteWithLifespan
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from rollproof.sessions import sdk
from rollproof.sessions.drain import drain_on_signal
from rollproof.sessions.endpoint import Endpoint
from rollproof.sessions.events import EventLog
from rollproof.sessions.identity import Signer, new_replica_id
from rollproof.sessions.link import Link, Message, create_client
from rollproof.sessions.options import Options
from rollproof.sessions.registry import Registry
from rollproof.sessions.serving import CANCELLED, Serving
from rollproof.sessions.streams import Streams

_VERSION_HEADER = b"mcp-protocol-version"


class Replica:
    """What one process of the server holds; `app.state.sessions` of the application."""

    def __init__(self, mcp: FastMCP[Any], manager: StreamableHTTPSessionManager, url: str, options: Options) -> None:
        self._mcp = mcp
        self._manager = manager
        self._options = options
        self.id = new_replica_id()
        self._link = Link(url, options, self.id)
        self._registry = Registry(self._link, options, lambda session_id: sdk.forget_log_level(mcp, session_id))
        self._log = EventLog(self._link, options)
        self._serving = Serving(
            mcp, manager.app, sdk.lifespan_state(manager), self._link, self._registry, self._log, options
        )
        self._streams = Streams(self._link, self._registry, self._log, options)
        self._endpoint = Endpoint(self._serving, self._streams, self._link, self._registry, self._log, options)
        self._limited = RequestBodyLimitMiddleware(self._endpoint.handle, manager.max_request_body_size)
        self._drain_began: float | None = None
        self._link.on_message = self._take
        self._link.on_gap = self._look_again
        self._link.on_secret = self._use_secret

    @property
    def is_draining(self) -> bool:
        return self._streams.is_draining

    @property
    def calls_in_flight(self) -> int:
        return self._serving.calls_in_flight

    @property
    def open_streams(self) -> int:
        return self._streams.count

    def drain(self) -> None:
        """End idle streams and open no more; calls go on. What SIGTERM does."""
        if self._drain_began is None:
            self._drain_began = asyncio.get_running_loop().time()
        self._streams.drain()

    async def start(self) -> None:
        await self._link.start()

    async def stop(self) -> None:
        """Let the calls whose clients have left end, write down what is left to write, and sign off."""
        now = asyncio.get_running_loop().time()
        began = now if self._drain_began is None else self._drain_began
        self.drain()
        await self._serving.finish(began + self._options.drain_s - now)
        await self._link.stop()

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """In place of the session manager's: the handshake era here, any other version where it was."""
        version = next((value.decode("latin-1") for name, value in scope["headers"] if name == _VERSION_HEADER), None)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._limited(scope, receive, send)
        else:
            await self._manager.handle_request(scope, receive, send)

    def _use_secret(self, secret: bytes) -> None:
        self._serving.signer = signer = Signer(secret)
        key, audience = signer.derive("request-state"), f"rollproof.sessions/{self._options.namespace}"
        sdk.share_request_state(self._mcp, self._manager.app, key, audience)

    def _take(self, message: Message) -> None:
        """What another replica has to say (or this one, to all)."""
        session_id = message.get("session", "")
        match message["t"]:
            case "wake":
                self._log.wake(message["key"])
            case "reply":
                self._serving.backchannel.take(session_id, message["message"])
            case "listen":
                self._streams.note_listener(session_id, message["by"])
            case "cancel":
                self._serving.stop(CANCELLED, session_id, message["id"])
            case "changed" if message["by"] != self.id:
                self._registry.forget(session_id)
            case "end":
                self._endpoint.close_session(session_id)
                if message["by"] != self.id:
                    self._link.post(message["by"], {"t": "ended", "name": message["name"], "at": self.id})
            case "ended":
                self._endpoint.note_ended(message["name"], message["at"])

    def _look_again(self) -> None:
        self._registry.forget()
        self._log.wake(None)


def resilient(
    mcp: FastMCP[Any],
    redis_url: str,
    *,
    path: str = "/mcp",
    middleware: Sequence[Middleware] = (),
    json_response: bool = False,
    secret: bytes | None = None,
    handle_signals: bool = True,
    options: Options | None = None,
    **http_app: Any,
) -> StarletteWithLifespan:
    """The ASGI application of `mcp`, whose sessions any replica with the same `redis_url` can serve.

    Args:
        redis_url: redis://, rediss:// or unix://. Redis need not be there yet when the application starts.
        secret: at least 32 bytes, the same on every replica. Without it the replicas agree on one in Redis, where
            whoever reads Redis can read it.
        handle_signals: end idle streams on SIGTERM and SIGINT; else call `app.state.sessions.drain()`.
        options: everything else, see Options.
        http_app: passed on to `FastMCP.http_app` (host_origin_protection, allowed_hosts, ...).

    Raises SessionsError for options, a Redis URL or a version of fastmcp that it cannot work with.
    """
    options = replace(options or Options(namespace=_namespace(mcp)), json_response=json_response)
    if secret is not None:
        options = replace(options, secret=secret)
    # Made here, so that a URL which cannot be used shows now.
    state_client = create_client(redis_url, socket_timeout=options.redis_budget_s)
    app = mcp.http_app(path=path, middleware=list(middleware), json_response=json_response, **http_app)
    endpoint = sdk.find_endpoint(app)
    sdk.share_state_store(mcp, state_client)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Starlette) -> AsyncIterator[Any]:
        async with inner(application) as state:
            manager = sdk.manager_of(endpoint)
            replica = Replica(mcp, manager, redis_url, options)
            await replica.start()
            endpoint.session_manager = replica  # type: ignore[assignment]
            app.state.sessions = replica
            try:
                with drain_on_signal(replica.drain, enabled=handle_signals):
                    yield state
            finally:
                await replica.stop()
                await state_client.aclose(close_connection_pool=True)
                endpoint.session_manager = manager

    app.router.lifespan_context = lifespan
    return app


def _namespace(mcp: FastMCP[Any]) -> str:
    """Servers with names of their own can share a Redis."""
    if not sdk.has_name_of_its_own(mcp):
        return "mcp"
    return "mcp:" + "".join(c if c.isascii() and c.isalnum() else "-" for c in mcp.name)
