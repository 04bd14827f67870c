"""Where a body ends: the framings of HTTP/1.1 bodies (RFC 9112, 6), read without any I/O.

Each has `feed(data) -> payload`, then `is_complete`, and `rest`: the bytes behind the end, which belong to the next
message. A framing that is no longer to be trusted raises BadFraming; nothing is guessed.
"""

from __future__ import annotations

import re

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_LINE_MAX = 4096
_TRAILERS_MAX = 16 * 1024


class BadFraming(Exception):
    """A chunk that is none, or trailers without end."""


class NoBody:
    """Complete from the start; whatever comes belongs to the next message."""

    is_complete = True

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        self.rest += data
        return b""


class FixedLength:
    """Content-Length bytes."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.is_complete = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        if len(data) < self.left:
            self.left -= len(data)
            return data
        payload, self.rest = (data, b"") if len(data) == self.left else (data[: self.left], data[self.left :])
        self.left = 0
        self.is_complete = True
        return payload


class UntilClose:
    """A response without length: it ends with its connection. `close` says so."""

    def __init__(self) -> None:
        self.is_complete = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        self.is_complete = True


class Chunked:
    """Transfer-Encoding: chunked. Extensions and trailers are checked and dropped."""

    def __init__(self) -> None:
        self.is_complete = False
        self.rest = b""
        self._buffer = b""
        self._left = 0  # of the current chunk's data
        self._in_data = False  # else a line is next
        self._owes_crlf = False  # behind a chunk's data
        self._in_trailers = False
        self._trailers_size = 0

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`. Raises BadFraming."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.is_complete:
            if self._in_data:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._in_data, self._owes_crlf = False, True
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self._keep(data[at:])
                return b"".join(pieces)
            self._read_line(data[at:line_end])
            at = line_end + 2
        self.rest = data[at:]
        return b"".join(pieces)

    def _keep(self, part: bytes) -> None:
        """Half a line: wait for the rest of it, unless it is already wrong."""
        if len(part) > _LINE_MAX or b"\n" in part or (self._owes_crlf and part != b"\r"):
            raise BadFraming("half a line that can never be right")
        self._buffer = part

    def _read_line(self, line: bytes) -> None:
        if self._owes_crlf:
            if line:
                raise BadFraming("chunk longer than its size")
            self._owes_crlf = False
        elif self._in_trailers:
            self._read_trailer(line)
        else:
            found = _CHUNK_LINE.fullmatch(line)
            if found is None or len(line) > _LINE_MAX:
                raise BadFraming("malformed chunk size")
            self._left = int(found[1], 16)
            self._in_data = self._left > 0
            self._in_trailers = self._left == 0

    def _read_trailer(self, line: bytes) -> None:
        self._trailers_size += len(line)
        if not line:
            self.is_complete = True
        elif self._trailers_size > _TRAILERS_MAX or _TRAILER_LINE.fullmatch(line) is None:
            raise BadFraming("malformed trailer")


Framing = NoBody | FixedLength | UntilClose | Chunked


def as_chunk(payload: bytes) -> bytes:
    """`payload` as one chunk; nothing for nothing, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""


LAST_CHUNK = b"0\r\n\r\n"
