"""An HTTP client that sends exactly the bytes it is given and reads what comes back without mercy or help."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rollproof.testing.balancer_target import DEADLINE_S


@dataclass(frozen=True)
class Response:
    """What came back. `is_complete`: the body ended as its framing says, not with the connection."""

    status: int
    head: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_complete: bool

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def cookie(self) -> str:
        """What a client with a cookie jar sends next."""
        return "; ".join(value.partition(";")[0] for value in self.all("set-cookie"))


class Wire:
    """One connection. Every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int, *, limit: int = 1024 * 1024) -> Wire:
        async with asyncio.timeout(DEADLINE_S):
            return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, data: bytes) -> Response:
        """Send a whole request, read the whole response."""
        self.send(data)
        return await self.response(is_head=data.startswith(b"HEAD "))

    async def response(self, *, is_head: bool = False) -> Response:
        async with asyncio.timeout(DEADLINE_S):
            status, head, headers = await self.head()
            body, is_complete = await self._body(status, dict(headers), is_head)
            return Response(status, head, headers, body, is_complete)

    async def head(self) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        pairs = (line.decode("latin-1").split(": ", 1) for line in lines)
        return int(first.split(b" ")[1]), head, tuple((name.lower(), value) for name, value in pairs)

    async def _body(self, status: int, headers: dict[str, str], is_head: bool) -> tuple[bytes, bool]:
        if is_head or status in (101, 204, 304):
            return b"", True
        if "content-length" in headers:
            assert "transfer-encoding" not in headers
            length = int(headers["content-length"])
            try:
                return await self.reader.readexactly(length), True
            except asyncio.IncompleteReadError as error:
                return error.partial, False
        if headers.get("transfer-encoding") == "chunked":
            return await self._chunks()
        return await self.reader.read(), False

    async def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        try:
            while (piece := await self.chunk()) != b"":
                body += piece
        except asyncio.IncompleteReadError:
            return body, False
        return body, True

    async def chunk(self) -> bytes:
        """The next chunk's data; empty for the last."""
        async with asyncio.timeout(DEADLINE_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def until_closed(self) -> bytes:
        """All that still comes, to the end. A reset is an end too."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


def get(path: str, **headers: str) -> bytes:
    return request("GET", path, b"", **headers)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request; `_` in a header's name stands for `-`. Content-Length where there is a body."""
    fields = {"Host": "lb.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
