"""GET: the session's standalone stream, and the rest of an answer whose connection broke. At any replica."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from mcp.server.streamable_http import check_accept_headers
from starlette.requests import Request
from starlette.types import Receive, Send

from rollproof.sessions.events import OUTCOME_UNKNOWN, Event, EventLog, read_listen_id
from rollproof.sessions.identity import LISTEN, Signer
from rollproof.sessions.inbound import SESSION_HEADER, Refused
from rollproof.sessions.link import Link, StoreUnavailable, end_tasks
from rollproof.sessions.options import Options
from rollproof.sessions.outlet import Outlet, priming, serve_events
from rollproof.sessions.registry import Registry, Session
from rollproof.sessions.serving import STREAM

DRAINING = "this replica is stopping; another one serves the session"

logger = logging.getLogger("rollproof.sessions")


@dataclass
class _Listener:
    name: str
    outlet: Outlet
    is_announced: bool = False


class Streams:
    """The GET streams that are open on this replica."""

    def __init__(self, link: Link, registry: Registry, log: EventLog, options: Options) -> None:
        self._link = link
        self._registry = registry
        self._log = log
        self._options = options
        self._listening: dict[str, _Listener] = {}
        self._open: set[Outlet] = set()
        self._opened = 0
        self.is_draining = False

    @property
    def count(self) -> int:
        return len(self._open)

    def drain(self) -> None:
        """End them, for they would never end, and open no more."""
        self.is_draining = True
        for outlet in list(self._open):
            outlet.close()

    def note_listener(self, session_id: str, name: str) -> None:
        """A standalone stream was opened somewhere. All replicas learn of them in one order: the last one stays."""
        mine = self._listening.get(session_id)
        if mine is None:
            return
        if mine.name == name:
            mine.is_announced = True
        elif mine.is_announced:
            mine.outlet.close()

    def close_listener(self, session_id: str) -> None:
        """The session has ended, or listens anew."""
        if session_id in self._listening:
            self._listening[session_id].outlet.close()

    async def serve(self, session: Session, signer: Signer, request: Request, receive: Receive, send: Send) -> None:
        if not check_accept_headers(request)[1]:
            raise Refused(406, "Not Acceptable: Client must accept text/event-stream")
        if self.is_draining:
            raise Refused(503, DRAINING, OUTCOME_UNKNOWN, **{"Retry-After": "1", "Connection": "close"})
        last = request.headers.get("last-event-id", "")
        entry = read_listen_id(last)
        if not last or entry is not None:
            await self._listen(session, entry or "", receive, send)
            return
        name, _, number = last.rpartition("/")
        stream = signer.read_token(STREAM, session.id, name)
        is_number = number.isascii() and number.isdigit() and len(number) < 10
        if stream is None or not is_number or not await self._log.exists(session.id, stream):
            raise Refused(400, "Bad Request: unknown or forgotten Last-Event-ID")
        await self._follow(self._log.follow(session.id, stream, int(number)), Outlet(), session, b"", receive, send)

    async def _listen(self, session: Session, entry: str, receive: Receive, send: Send) -> None:
        """The standalone stream; the newest listener of a session is the one, on whichever replica."""
        position = entry or await self._log.notes_position(session.id)
        first = b": open\r\n\r\n"
        if session.can_resume:
            # An event to name when it listens again: what is said in between is then neither lost nor told twice.
            first = priming(f"{LISTEN}/{position}", self._options.retry_ms)
        self._opened += 1
        name = f"{self._link.replica}.{self._opened}"
        self.close_listener(session.id)
        outlet = Outlet()
        self._listening[session.id] = _Listener(name, outlet)
        self._link.tell_all({"t": "listen", "session": session.id, "by": name})
        try:
            events = self._log.follow_notes(session.id, position)
            await self._follow(events, outlet, session, first, receive, send, is_standalone=True)
        finally:
            mine = self._listening.get(session.id)
            if mine is not None and mine.name == name:
                del self._listening[session.id]

    async def _follow(
        self,
        events: AsyncIterator[Event],
        outlet: Outlet,
        session: Session,
        first: bytes,
        receive: Receive,
        send: Send,
        *,
        is_standalone: bool = False,
    ) -> None:
        self._open.add(outlet)
        feed = asyncio.create_task(_feed(events, outlet))
        holding = asyncio.create_task(self._hold(session))
        try:
            await serve_events(
                outlet,
                receive,
                send,
                {SESSION_HEADER: session.id},
                keepalive_s=self._options.keepalive_s,
                first=first,
                on_sent=(lambda event: self._log.delivered(session.id, event)) if is_standalone else _ignore,
            )
        finally:
            self._open.discard(outlet)
            await end_tasks(feed, holding)

    async def _hold(self, session: Session) -> None:
        """An open stream keeps its session alive."""
        while True:
            await asyncio.sleep(self._options.session_ttl_s / 10)
            try:
                await self._registry.find(session.id)
            except StoreUnavailable:
                logger.debug("a session could not be renewed")


def _ignore(_event: Event) -> None:
    pass


async def _feed(events: AsyncIterator[Event], outlet: Outlet) -> None:
    try:
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                await outlet.put(event)
                if event.is_last:
                    return
    except StoreUnavailable:
        logger.warning("a stream ends because redis does not answer")
    outlet.close()
