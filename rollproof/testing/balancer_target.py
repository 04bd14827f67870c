"""A target that writes down, byte for byte, what a balancer sends it, and judges it strictly.

Two independent readers judge: a grammar of the head that allows nothing optional, and h11 for the framing. What either
objects to stands in `violations`. The path of a request says how the target answers; see `_ANSWERS`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import h11

DEADLINE_S = 5.0
"""For anything to happen that must: generous, since it is reached only by a failing test."""

CHUNK = b"%x\r\n%b\r\n"

_HEAD = re.compile(
    rb"[A-Z!#$%&'*+\-.^_`|~0-9a-z]+ (?:/[\x21-\x7e]*|\*) HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:(?: [\t\x20-\x7e\x80-\xff]*)?\r\n)+\r\n"
)
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"x-forwarded-proto", b"x-forwarded-port")


@dataclass
class Received:
    """One request as it reached the target. Header names are in lower case."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    is_complete: bool = False

    def header(self, name: str) -> str | None:
        """The one value of `name`; None if absent."""
        values = [value for key, value in self.headers if key == name.encode()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0].decode() if values else None


class TargetServer:
    """A target on loopback. `name` is what it answers with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[Received] = []
        self.violations: list[str] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.go = asyncio.Event()  # what /wait and /stream wait for
        self.port = 0
        self.changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and cut those there are."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds; looked at whenever something has come or gone."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open.add(writer)
        self.changed.set()
        try:
            await _Conversation(self, reader, writer).run()
        except (OSError, asyncio.CancelledError):
            pass  # the balancer closed, or the test is over
        finally:
            self._tasks.discard(task)
            self.open.discard(writer)
            writer.transport.abort()
            self.changed.set()


class _Conversation:
    """One connection: request after request."""

    def __init__(self, server: TargetServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
        self.request = Received("", "", [])
        self._raw = b""  # not yet given to h11

    async def run(self) -> None:
        while await self._read_head():
            answer = _ANSWERS.get(self.request.path.partition("?")[0], _hello)
            if not await answer(self):
                return
            if self.h11.their_state in {h11.SEND_BODY, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR}:
                return
            self.h11.send(h11.Response(status_code=200, headers=[("content-length", "0")]))  # h11's own book-keeping
            self.h11.send(h11.EndOfMessage())
            self.h11.start_next_cycle()

    async def _read_head(self) -> bool:
        trailing, _ = self.h11.trailing_data
        self._raw += trailing
        while b"\r\n\r\n" not in self._raw:
            data = await self.reader.read(65536)
            if not data:
                if self._raw:
                    self.server.violations.append(f"half a head: {self._raw[:200]!r}")
                return False
            self._raw += data
        head, rest = self._raw[: self._raw.find(b"\r\n\r\n") + 4], self._raw[self._raw.find(b"\r\n\r\n") + 4 :]
        if _HEAD.fullmatch(head) is None:
            self.server.violations.append(f"malformed head: {head[:500]!r}")
            return False
        event = self._fed(head)
        if not isinstance(event, h11.Request):
            return False
        headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        self.request = Received(event.method.decode(), event.target.decode(), headers)
        self._check_once(headers)
        self._raw = b""
        if rest:
            self.h11.receive_data(rest)
        self.server.requests.append(self.request)
        self.server.changed.set()
        return True

    def _check_once(self, headers: list[tuple[bytes, bytes]]) -> None:
        names = [name for name, _ in headers]
        twice = [name for name in _ONCE if names.count(name) > 1]
        if twice or (b"content-length" in names and b"transfer-encoding" in names) or b"host" not in names:
            self.server.violations.append(f"ambiguous head: {headers!r}")

    def _fed(self, data: bytes) -> object:
        try:
            self.h11.receive_data(data)
            return self.h11.next_event()
        except h11.RemoteProtocolError as error:
            self.server.violations.append(f"{error}: {data[:200]!r}")
            return None

    async def read_body(self) -> None:
        """All of the body, into the request."""
        while True:
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                self.server.violations.append(str(error))
                raise ConnectionResetError from error
            if isinstance(event, h11.Data):
                self.request.body += event.data
            elif event is h11.NEED_DATA:
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionResetError  # a body cut short is incomplete, not malformed
                self.h11.receive_data(data)
            else:
                self.request.is_complete = isinstance(event, h11.EndOfMessage)
                self.server.changed.set()
                return
            self.server.changed.set()

    async def until_go(self) -> None:
        """Until `go` is set. Raises ConnectionResetError when the balancer closes before."""
        tasks = {asyncio.create_task(self.server.go.wait()), asyncio.create_task(self._until_closed())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not self.server.go.is_set():
            raise ConnectionResetError

    async def _until_closed(self) -> None:
        while data := await self.reader.read(65536):
            self.server.violations.append(f"bytes behind the request: {data[:200]!r}")

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def respond(self, body: bytes, *, status: bytes = b"200 OK", extra: bytes = b"") -> None:
        self.send(
            b"HTTP/1.1 %b\r\nX-Target: %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, self.server.name.encode(), extra, len(body), body)
        )


Answer = Callable[[_Conversation], Awaitable[bool]]
"""Answers one request; False ends the connection."""


async def _hello(talk: _Conversation) -> bool:
    """The target's name."""
    await talk.read_body()
    name = talk.server.name.encode()
    if talk.request.method == "HEAD":
        talk.send(b"HTTP/1.1 200 OK\r\nX-Target: %b\r\nContent-Length: %d\r\n\r\n" % (name, len(name)))
    else:
        talk.respond(name)
    return True


async def _size(talk: _Conversation) -> bool:
    """How many bytes were uploaded."""
    await talk.read_body()
    talk.respond(b"%d" % len(talk.request.body))
    return True


async def _wait(talk: _Conversation) -> bool:
    """Answers when `go` is set."""
    await talk.read_body()
    await talk.until_go()
    talk.respond(talk.server.name.encode())
    return True


async def _stream(talk: _Conversation) -> bool:
    """An event at once; the last one when `go` is set."""
    await talk.read_body()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    talk.send(CHUNK % (9, b"data: 1\n\n"))
    await talk.until_go()
    talk.send(CHUNK % (9, b"data: 2\n\n") + b"0\r\n\r\n")
    return True


async def _flood(talk: _Conversation) -> bool:
    """64 MiB, written as fast as they are taken; `body` counts what has left."""
    await talk.read_body()
    block, blocks = b"x" * 65536, 1024
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(block) * blocks))
    for _ in range(blocks):
        talk.send(block)
        await talk.writer.drain()
        talk.request.body += b"."
        talk.server.changed.set()
    return True


async def _sip(talk: _Conversation) -> bool:
    """Reads nothing of the upload before `go` is set."""
    await talk.server.go.wait()
    return await _size(talk)


async def _early(talk: _Conversation) -> bool:
    """Answers before the upload has come."""
    talk.respond(b"enough", status=b"413 Content Too Large", extra=b"Connection: close\r\n")
    await talk.server.go.wait()
    return False


async def _websocket(talk: _Conversation) -> bool:
    """Switches protocols, then echoes bytes."""
    talk.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi:")
    talk.send(talk.server.name.encode())
    rest, _ = talk.h11.trailing_data
    talk.send(rest)
    while data := await talk.reader.read(65536):
        talk.send(data)
    return False


def _raw(answer: bytes, *, stay: bool = False) -> Answer:
    """Reads the request, sends exactly `answer`, and closes unless it is to stay."""

    async def send(talk: _Conversation) -> bool:
        await talk.read_body()
        talk.send(answer)
        await talk.writer.drain()
        if not stay and talk.writer.can_write_eof():
            talk.writer.write_eof()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(DEADLINE_S):
                    await talk.reader.read()
        return stay

    return send


async def _reset(talk: _Conversation) -> bool:
    await talk.read_body()
    talk.writer.transport.abort()
    return False


_ANSWERS: dict[str, Answer] = {
    "/hello": _hello,
    "/size": _size,
    "/wait": _wait,
    "/stream": _stream,
    "/flood": _flood,
    "/sip": _sip,
    "/early": _early,
    "/ws": _websocket,
    "/reset": _reset,
    "/close": _raw(b""),
    "/cookie": _raw(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: SESSION=s1; Path=/\r\nSet-Cookie: theme=dark\r\nContent-Length: 2\r\n\r\nok",
        stay=True,
    ),
    "/204": _raw(b"HTTP/1.1 204 No Content\r\n\r\n", stay=True),
    "/304": _raw(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", stay=True),
    "/500": _raw(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", stay=True),
    "/until-close": _raw(b"HTTP/1.1 200 OK\r\n\r\nall there is"),
    "/http10": _raw(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"),
    "/short": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
    "/short-chunks": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    "/interim": _raw(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        stay=True,
    ),
    "/garbage": _raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "/two-lengths": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "/bad-chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    "/switch": _raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    "/headers-31k": _raw(
        b"HTTP/1.1 200 OK\r\nX-Big: %b\r\nContent-Length: 2\r\n\r\nok" % (b"x" * 31 * 1024), stay=True
    ),
    "/headers-33k": _raw(
        b"HTTP/1.1 200 OK\r\nX-Big: %b\r\nContent-Length: 2\r\n\r\nok" % (b"x" * 33 * 1024), stay=True
    ),
    "/extra": _raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", stay=True
    ),
}
