"""Server-sent events, bytes in, events out. The WHATWG "event stream interpretation" rules; no I/O.

Lines end in LF, CR or CRLF, and a chunk may end anywhere, inside a line end or a character included. Comments (the
pings of MCP servers) yield nothing. MCP's priming event, an id with empty data, is an event with `data == ""`.
"""

from __future__ import annotations

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


class StreamTooLarge(ValueError):
    """One event holds more than the parser was told to keep."""


@dataclass(frozen=True)
class ServerSentEvent:
    """One dispatched event. `id` is the last event id at that point, its own or an earlier event's."""

    data: str
    event: str = "message"
    id: str = ""


class SseParser:
    """Feed it chunks; it returns the events they complete. An event cut off by the end of the stream is dropped.

    `last_event_id` and `retry_ms` are what a reconnecting client needs. Raises StreamTooLarge when a single
    event exceeds `max_event_bytes`.
    """

    def __init__(self, max_event_bytes: int = 8 * 1024 * 1024) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._max_event_bytes = max_event_bytes
        self._tail: list[bytes] = []  # pieces of the unfinished line
        self._size = 0  # bytes of the unfinished event
        self._skip_line_feed = False  # the previous chunk ended in CR
        self._at_start = True
        self._data: list[str] = []
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        events = []
        for line in self._lines(chunk):
            self._size += len(line)
            if line:
                self._field(line)
            elif event := self._dispatch():
                events.append(event)
        if self._size + sum(map(len, self._tail)) > self._max_event_bytes:
            raise StreamTooLarge(f"an event of more than {self._max_event_bytes} bytes")
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        if not chunk:
            return []
        if self._skip_line_feed and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._skip_line_feed = chunk.endswith(b"\r")
        *lines, tail = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if lines:
            lines[0] = b"".join([*self._tail, lines[0]])
            self._tail = []
            if self._at_start:
                self._at_start = False
                lines[0] = lines[0].removeprefix(_BOM)
        if tail:
            self._tail.append(tail)
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value[:9])
            case _:
                pass  # a comment (empty name) or a field of a later specification

    def _dispatch(self) -> ServerSentEvent | None:
        self.last_event_id = self._id
        event = ServerSentEvent("\n".join(self._data), self._event or "message", self._id) if self._data else None
        self._data, self._event, self._size = [], "", 0
        return event
