"""Events on their way to one HTTP response, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Receive, Send

from rollproof.sessions.events import Event

_AHEAD = 64  # events that a writer may be ahead of the client before it waits
_CLOSED = Event("", "")

HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "connection": "keep-alive",
    "x-accel-buffering": "no",
}


class Outlet:
    """Open until the client has left, the stream has been closed from here, or its last event was sent."""

    def __init__(self) -> None:
        self.is_closed = False
        self._events: asyncio.Queue[Event] = asyncio.Queue(_AHEAD)

    async def put(self, event: Event) -> None:
        """Waits for a slow client; nothing once closed."""
        if not self.is_closed:
            await self._events.put(event)

    def close(self) -> None:
        """Whoever waits to put goes on, whoever serves ends."""
        self.is_closed = True
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(_CLOSED)

    async def get(self, within_s: float | None = None) -> Event | None:
        """The next event; None where there is none in time. Ended once it is `is_closed`."""
        try:
            async with asyncio.timeout(within_s):
                return await self._events.get()
        except TimeoutError:
            return None


async def serve_events(
    outlet: Outlet,
    receive: Receive,
    send: Send,
    headers: Mapping[str, str],
    *,
    keepalive_s: float,
    first: bytes = b"",
    on_sent: Callable[[Event], None] = lambda _event: None,
) -> None:
    """Send what comes through `outlet` until its last event, or until it is closed."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in {**HEADERS, **headers}.items()]
    watch = asyncio.create_task(close_with_client(receive, outlet))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        if first:
            await _send(send, first)
        while not outlet.is_closed:
            event = await outlet.get(keepalive_s)
            if event is None:
                await _send(send, b": keepalive\r\n\r\n")
            elif event is not _CLOSED:
                await _send(send, encode(event))
                on_sent(event)
                if event.is_last:
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        watch.cancel()


async def close_with_client(receive: Receive, outlet: Outlet) -> None:
    """Close it when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    outlet.close()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def encode(event: Event) -> bytes:
    """A message without line breaks, as JSON is here."""
    return f"id: {event.id}\r\nevent: message\r\ndata: {event.text}\r\n\r\n".encode()


def priming(event_id: str, retry_ms: int | None) -> bytes:
    """An id without a message (protocol 2025-11-25): from here on the client can take the stream up."""
    retry = "" if retry_ms is None else f"retry: {retry_ms}\r\n"
    return f"id: {event_id}\r\n{retry}data: \r\n\r\n".encode()
