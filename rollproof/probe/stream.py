"""A session's standalone GET stream: held open, taken up again when it ends, and written down.

A server without one answers 405 (MCP 2025-11-25, basic/transports, "Listening for Messages"), which is a fine
answer. A stream that ends is no failed call: the specification lets a server end it at any time.
"""

from __future__ import annotations

import asyncio

from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.records import SessionLog

_FAILURES = 5  # in a row: then the stream is given up


async def hold_stream(client: McpClient, log: SessionLog, reconnect_s: float) -> None:
    """Ends when the server offers no stream or refuses it again and again; otherwise runs until cancelled.

    `reconnect_s`: the pause before it is taken up again, unless the server named another.
    """
    failures, is_open = 0, False
    session_id, last_event_id = client.session_id, ""

    def note_open(head: Answer) -> None:
        nonlocal is_open
        is_open = True
        log.stream("stream_opened", http_status=head.http_status)

    try:
        while failures < _FAILURES:
            is_open = False
            if client.session_id != session_id:
                session_id, last_event_id = client.session_id, ""  # another session's events have other ids
            answer = await client.listen(note_open, last_event_id)
            if answer.http_status == 405 or (answer.http_status == 200 and not is_open):
                log.stream("stream_refused", http_status=answer.http_status)
                return
            failures = 0 if is_open else failures + 1
            last_event_id = answer.last_event_id or last_event_id
            reason = "ended by the server" if answer.ok else answer.signature
            log.stream("stream_ended", reason=reason, http_status=answer.http_status)
            is_open = False
            await asyncio.sleep(reconnect_s if answer.retry_ms is None else answer.retry_ms / 1000)
    finally:
        if is_open:
            log.stream("stream_ended", reason="ended by the client")
