"""A real HTTP server on loopback that does what a script says: answer, stream, stall, cut.

No framework stands between the script and the socket, so that a test can break exactly what it means to break.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any


class Request:
    """`message` is the JSON of the body, {} for none; header names are lower case."""

    def __init__(self, method: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.headers = headers
        self.message: dict[str, Any] = json.loads(body) if body else {}


class Reply:
    """What a script answers with. Each method is one complete act; a script may use several of the stream's."""

    def __init__(self, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> None:
        self._writer = writer
        self._headers = dict(headers)
        self.is_cut = False

    def add_header(self, name: str, value: str) -> None:
        self._headers[name] = value

    async def body(self, status: int, body: str = "", content_type: str = "", *, missing: int = 0) -> None:
        """`missing` bytes are promised by Content-Length and never sent."""
        if content_type:
            self._headers["Content-Type"] = content_type
        data = body.encode()
        self._head(status, {"Content-Length": str(len(data) + missing)})
        self._writer.write(data)
        await self._flush()
        if missing:
            self.cut()

    async def json(self, status: int, message: Mapping[str, Any]) -> None:
        await self.body(status, json.dumps(message), "application/json")

    async def start_stream(self) -> None:
        self._head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        await self._flush()

    async def send(self, text: str) -> None:
        data = text.encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._flush()

    async def event(self, message: Mapping[str, Any]) -> None:
        await self.send(f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n")

    async def end_stream(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._flush()

    def cut(self) -> None:
        """Close the connection as it is."""
        self.is_cut = True
        self._writer.close()

    async def _flush(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            self.is_cut = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"{name}: {value}" for name, value in {**self._headers, **headers}.items()]
        self._writer.write("\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode())


Script = Callable[[Request, Reply], Awaitable[None]]


class Loopback:
    """`async with Loopback(script) as server`: server.url, and `connections` that are open now."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[Request] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Loopback:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/mcp"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        first = b""  # of the next request, where it came before the last script had ended
        try:
            while (request := await _read(reader, first)) is not None:
                self.requests.append(request)
                reply = Reply(writer, {})
                script = asyncio.ensure_future(self._script(request, reply))
                next_byte = asyncio.ensure_future(reader.read(1))
                await asyncio.wait((script, next_byte), return_when=asyncio.FIRST_COMPLETED)
                if next_byte.done() and not next_byte.result():
                    reply.is_cut = True  # the client hung up
                    script.cancel()
                    return
                await script
                next_byte.cancel()
                await asyncio.wait((next_byte,))
                first = b"" if next_byte.cancelled() else next_byte.result()
                if reply.is_cut:
                    return
        except ConnectionError:
            pass
        finally:
            self.connections -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader, start: bytes) -> Request | None:
    try:
        head = (start + await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(first.split(" ")[0], headers, body)
