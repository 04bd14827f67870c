"""What was said on a session's streams, so that any replica can say the rest.

    events:<session>:<stream>   the stream that answers one call, a hash: its request's id, its messages by number, and
                                which of them is the end. (A Redis stream would take 4 KiB for each.)
    notes:<session>             the standalone stream: what the server says unasked, the newest of it
    cursor:<session>            how far the standalone stream has been delivered

The replica that serves a call delivers to its client from memory and writes behind; the log is read only by whoever
takes a broken stream up. A stream whose replica has died is ended here with an error, for nobody else will.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from rollproof.sessions.identity import LISTEN, Token
from rollproof.sessions.link import Link
from rollproof.sessions.options import Options

OUTCOME_UNKNOWN = -32000

_LOST = "the replica that served this call is gone; whether the call was carried out is unknown"
_LOOK_S = 1.0  # at a quiet stream: its writer may not know yet that somebody else listens
_APPEARS_WITHIN_S = 1.0
_STREAM_ENTRY = re.compile(r"\d{1,20}-\d{1,20}")
_START = "0"
_AT_ONCE = 50

_END_IF_OPEN = """
if redis.call('HEXISTS', KEYS[1], 'end') == 1 then return 0 end
local number = redis.call('HLEN', KEYS[1])
redis.call('HSET', KEYS[1], number, ARGV[1], 'end', number)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Event:
    """`id` as the client is to repeat it in Last-Event-ID; `is_last` ends the stream."""

    id: str
    text: str
    is_last: bool = False


class EventLog:
    def __init__(self, link: Link, options: Options) -> None:
        self._link = link
        self._options = options
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def started(self, session_id: str, stream: Token, request_id: str | int) -> None:
        key = self._stream(session_id, stream)
        ttl = int(self._options.running_ttl_s * 1000)
        self._link.write(("HSET", key, _START, json.dumps(request_id)), ("PEXPIRE", key, ttl))

    def append(self, session_id: str, stream: Token, number: int, event: Event, *, wake: bool) -> None:
        """`number` counts from 1. `wake` whoever may listen elsewhere: the one who called does not listen here."""
        key = self._stream(session_id, stream)
        end = ("end", number) if event.is_last else ()
        self._link.write(("HSET", key, number, event.text, *end))
        if event.is_last:
            self._link.write(("PEXPIRE", key, int(self._options.event_ttl_s * 1000)))
        if wake:
            self._link.tell_all({"t": "wake", "key": key})

    def note(self, session_id: str, text: str) -> None:
        """Say something on the standalone stream, whichever replica holds it now or next."""
        key = self._notes(session_id)
        self._link.write(
            ("XADD", key, "MAXLEN", "~", self._options.kept_notifications, "*", "m", text),
            ("PEXPIRE", key, int(self._options.session_ttl_s * 1000)),
        )
        self._link.tell_all({"t": "wake", "key": key})

    def wake(self, key: str | None) -> None:
        """Have those who wait for `key` look again; all of them, where something may have been missed."""
        for one in [key] if key is not None else list(self._waiting):
            for waiting in self._waiting.get(one, ()):
                waiting.set()

    async def exists(self, session_id: str, stream: Token) -> bool:
        """Whether this stream can be taken up. Raises StoreUnavailable."""
        deadline = asyncio.get_running_loop().time() + _APPEARS_WITHIN_S
        while not await self._link.command("EXISTS", self._stream(session_id, stream)):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_APPEARS_WITHIN_S / 10)
        return True

    async def follow(self, session_id: str, stream: Token, after: int) -> AsyncIterator[Event]:
        """Everything of a call's stream after event `after`, to its end. Raises StoreUnavailable."""
        key = self._stream(session_id, stream)
        with self._wait(key) as waiting:
            while True:
                waiting.clear()
                numbers = range(after + 1, after + 1 + _AT_ONCE)
                end, *texts = await self._link.command("HMGET", key, "end", *numbers)
                found = list(_without_gap(after, end, texts))
                for number, text in found:
                    after = number
                    yield Event(f"{stream.text}/{number}", text, str(number) == end)
                    if str(number) == end:
                        return
                if found or await _is_set(waiting, _LOOK_S):
                    continue
                if not await self._link.command("EXISTS", key):
                    return  # it was never started, or is forgotten
                if not await self._link.is_alive(stream.replica):
                    await self._end_lost(key)

    async def notes_position(self, session_id: str) -> str:
        """The entry of the standalone stream up to which it was delivered. Raises StoreUnavailable."""
        return str(await self._link.command("GET", self._link.key("cursor", session_id)) or "0-0")

    def delivered(self, session_id: str, event: Event) -> None:
        """Of the standalone stream, to its client: a next listener that names no event begins behind it."""
        ttl = int(self._options.session_ttl_s * 1000)
        self._link.write(("SET", self._link.key("cursor", session_id), read_listen_id(event.id), "PX", ttl))

    async def follow_notes(self, session_id: str, position: str) -> AsyncIterator[Event]:
        """The standalone stream after entry `position`. Raises StoreUnavailable."""
        key = self._notes(session_id)
        with self._wait(key) as waiting:
            while True:
                waiting.clear()
                entries = await self._link.command("XRANGE", key, f"({position}", "+")
                for entry, fields in _entries(entries):
                    position = entry
                    yield Event(f"{LISTEN}/{position}", fields["m"])
                if not entries:
                    await waiting.wait()

    async def forget(self, session_id: str) -> None:
        """Raises StoreUnavailable."""
        await self._link.command("DEL", self._notes(session_id), self._link.key("cursor", session_id))

    async def _end_lost(self, key: str) -> None:
        request_id = await self._link.command("HGET", key, _START)
        if request_id is None:
            return
        error = {"code": OUTCOME_UNKNOWN, "message": _LOST}
        text = to_json({"jsonrpc": "2.0", "id": json.loads(request_id), "error": error}).decode()
        ttl = int(self._options.event_ttl_s * 1000)
        await self._link.command("EVAL", _END_IF_OPEN, 1, key, text, ttl)

    @contextmanager
    def _wait(self, key: str) -> Iterator[asyncio.Event]:
        waiting = asyncio.Event()
        self._waiting.setdefault(key, set()).add(waiting)
        try:
            yield waiting
        finally:
            self._waiting[key].discard(waiting)
            if not self._waiting[key]:
                del self._waiting[key]

    def _stream(self, session_id: str, stream: Token) -> str:
        return self._link.key("events", session_id, stream.text)

    def _notes(self, session_id: str) -> str:
        return self._link.key("notes", session_id)


def _without_gap(after: int, end: str | None, texts: Sequence[str | None]) -> Iterator[tuple[int, str]]:
    """The messages that can be told now. What was never written (Redis was away too long) is passed over at the end."""
    for number, text in enumerate(texts, after + 1):
        if text is not None:
            yield number, text
        elif end is None or number > int(end):
            return


def read_listen_id(event_id: str) -> str | None:
    """The Redis stream entry of a standalone stream's event id; None for any other text."""
    kind, _, entry = event_id.partition("/")
    return entry if kind == LISTEN and _STREAM_ENTRY.fullmatch(entry) else None


def _entries(raw: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Of an XRANGE sent as a plain command: pairs, or flat lists of fields, by the client's version."""
    for entry, fields in raw or ():
        yield entry, fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
