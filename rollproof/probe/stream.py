"""A session's standalone GET stream: held open, taken up again when it ends, and written down.

A server without one answers 405 (MCP 2025-11-25, basic/transports, "Listening for Messages"), which is a fine
answer. A stream that ends is no failed call: the specification lets a server end it at any time.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.dialect import Message
from rollproof.probe.records import SessionLog
from rollproof.probe.waiting import wait

_FAILURES = 5  # in a row: then the stream is given up


class Notices:
    """What the stream of one session has brought of what was announced on it, over all its reconnections."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._arrivals: dict[str, asyncio.Event] = {}
        self._is_known = asyncio.Event()  # whether the server offers a stream
        self.is_offered = self.is_refused = False

    def note_offer(self, is_offered: bool) -> None:
        self.is_offered = self.is_offered or is_offered
        self.is_refused = not self.is_offered
        self._is_known.set()

    def give_up(self) -> None:
        """It was neither opened nor refused for good, and is not tried again."""
        self._is_known.set()

    async def wait_for_offer(self, within_s: float) -> bool:
        """Whether there is a stream, or was. False as well where none was opened within that time."""
        await wait(self._is_known, within_s)
        return self.is_offered

    def expect(self, text: str) -> asyncio.Event:
        """An event for the text's first arrival. The text must be like no other's."""
        return self._arrivals.setdefault(text, asyncio.Event())

    def count(self, text: str) -> int:
        return self._counts[text]

    def forget(self, text: str) -> None:
        self._arrivals.pop(text, None)
        self._counts.pop(text, None)

    async def take(self, message: Message) -> None:
        """A text may stand anywhere in a notification: as data of a message, in the URI of a resource."""
        if message.get("id") is not None or not self._arrivals:
            return
        params = json.dumps(message.get("params"), ensure_ascii=False)
        for text, arrival in self._arrivals.items():
            if text in params:
                self._counts[text] += 1
                arrival.set()


async def hold_stream(client: McpClient, log: SessionLog, reconnect_s: float, notices: Notices) -> None:
    """Ends when the server offers no stream or refuses it again and again; otherwise runs until cancelled.

    `reconnect_s`: the pause before it is taken up again, unless the server named another.
    """
    failures, is_open = 0, False
    session_id, last_event_id = client.session_id, ""

    def note_open(head: Answer) -> None:
        nonlocal is_open
        is_open = True
        notices.note_offer(True)
        log.stream("stream_opened", http_status=head.http_status)

    try:
        while failures < _FAILURES:
            is_open = False
            if client.session_id != session_id:
                session_id, last_event_id = client.session_id, ""  # another session's events have other ids
            answer = await client.listen(note_open, notices.take, last_event_id)
            if answer.http_status == 405 or (answer.http_status == 200 and not is_open):
                notices.note_offer(False)
                log.stream("stream_refused", http_status=answer.http_status)
                return
            failures = 0 if is_open else failures + 1
            last_event_id = answer.last_event_id or last_event_id
            reason = "ended by the server" if answer.ok else answer.signature
            log.stream("stream_ended", reason=reason, http_status=answer.http_status)
            is_open = False
            await asyncio.sleep(reconnect_s if answer.retry_ms is None else answer.retry_ms / 1000)
        notices.give_up()
    finally:
        if is_open:
            log.stream("stream_ended", reason="ended by the client")
