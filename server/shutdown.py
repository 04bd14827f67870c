"""SIGTERM: finish the calls in flight, end what would never finish, exit with 0.

Three things stand in the way of a plain uvicorn:

- sse_starlette, which carries fastmcp's event streams, patches uvicorn's signal handler and ends every stream at
  once: a call in flight gets an empty answer. Here signals do not go through that handler, and the patch is also
  switched off by the library's own switch.
- Then the idle GET streams of stateful sessions hold the process until it is killed. `DrainMiddleware` ends those,
  and only those: their clients are to open them again on another task.
- At the end uvicorn raises the signal again, and the process dies of it (143) as if it had never been handled.

uvicorn does the rest: it closes the listener and idle connections, answers what was begun, and gives up after
SHUTDOWN_GRACE_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.logs import log_event

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Whether this task is stopping, and what it still serves."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._at_begin: list[Callable[[], None]] = []
        self.calls_in_flight = 0
        self.open_streams = 0

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    def call_at_begin(self, action: Callable[[], None]) -> None:
        """Have `action` called, in the event loop, when the drain begins."""
        self._at_begin.append(action)

    def begin(self) -> None:
        self._begun.set()
        for action in self._at_begin:
            action()

    async def wait_begun(self) -> None:
        await self._begun.wait()


class DrainMiddleware:
    """Counts calls and streams of the MCP endpoint; once the drain has begun it ends GET streams and opens no more."""

    def __init__(self, app: ASGIApp, *, drain: Drain, path: str) -> None:
        self._app = app
        self._drain = drain
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != self._path:
            await self._app(scope, receive, send)
        elif scope["method"] != "GET":
            self._drain.calls_in_flight += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._drain.calls_in_flight -= 1
        elif self._drain.has_begun:
            response = JSONResponse({"status": "draining"}, status_code=503, headers={"connection": "close"})
            await response(scope, receive, send)
        else:
            self._drain.open_streams += 1
            try:
                await self._serve_stream(scope, receive, send)
            finally:
                self._drain.open_streams -= 1

    async def _serve_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the application that the client has left when the drain begins; tell the client a proper end."""
        is_unfinished = False

        async def watched_send(message: Message) -> None:
            nonlocal is_unfinished
            is_unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        async def receive_until_drain() -> Message:
            return await _first(receive, self._drain.wait_begun) or {"type": "http.disconnect"}

        await self._app(scope, receive_until_drain, watched_send)
        if is_unfinished and self._drain.has_begun:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _first(receive: Receive, wait_begun: Callable[[], Awaitable[None]]) -> Message | None:
    """What `receive` gives, or None if the drain begins before."""
    message = asyncio.ensure_future(receive())
    begun = asyncio.ensure_future(wait_begun())
    try:
        await asyncio.wait({message, begun}, return_when=asyncio.FIRST_COMPLETED)
        return message.result() if message.done() else None
    finally:
        for waiter in (message, begun):
            waiter.cancel()
        await asyncio.gather(message, begun, return_exceptions=True)


class GracefulServer(uvicorn.Server):
    """A uvicorn server that ends on SIGTERM or SIGINT by draining; SIGINT twice ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain, task_id: str, announcement: Mapping[str, Any]) -> None:
        """`announcement` is logged once requests can be answered."""
        super().__init__(config)
        self._drain = drain
        self._task_id = task_id
        self._announcement = announcement
        self._signalled_at = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In place of uvicorn's own handlers, for the reasons above."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            # A signal between here and the end of the process has nothing left to ask for.
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log_event("server_started", task_id=self._task_id, **self._announcement)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        await super().serve(sockets)
        log_event(
            "server_stopped",
            task_id=self._task_id,
            drained_s=round(time.monotonic() - self._signalled_at, 3) if self._signalled_at else None,
        )

    def _stop(self, number: signal.Signals) -> None:
        if self._drain.has_begun:
            self.force_exit = self.force_exit or number == signal.SIGINT
            log_event("shutdown_signal_repeated", signal=number.name, forced=self.force_exit)
            return
        self._signalled_at = time.monotonic()
        log_event(
            "shutdown_started",
            level=logging.INFO,
            signal=number.name,
            task_id=self._task_id,
            calls_in_flight=self._drain.calls_in_flight,
            open_streams=self._drain.open_streams,
            grace_s=self.config.timeout_graceful_shutdown,
        )
        self._drain.begin()
        self.should_exit = True
