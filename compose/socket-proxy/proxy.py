"""The only way from the orchestrator to the Docker Engine: a unix socket behind which just the calls of rules.py pass.

    python proxy.py           serve until SIGTERM
    python proxy.py --check   exit 0 if it serves and the Engine answers: the container's health check

Environment: PROJECT, SERVICE, NETWORK, IMAGES (separated by spaces); LISTEN and ENGINE, paths of sockets; KEEP,
services whose killed containers are started again (keeper.py).

One request a connection. It is read whole, judged, and written anew for the Engine with `Connection: close`; what
a client sends behind it is never passed on, so no second request can hide in the first.

On SIGTERM it removes tasks whose orchestrator is gone: Compose ends the orchestrator before its proxy, and would
leave behind what it did not create itself. While an orchestrator is connected (it always follows the events),
they are its business, and stay.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from keeper import PAUSE_S, Deaths, events_target, keep
from rules import Forbidden, Scope, allowed_body

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 1024 * 1024
PATIENCE_S = 10.0
REMOVAL_S = 8.0  # below Compose's stop timeout of 10 s
_REASONS = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway"}


class Malformed(Exception):
    """Not the HTTP that is spoken here."""


class Proxy:
    """Judges and relays. `engine` is the path of the Engine's own socket."""

    def __init__(self, scope: Scope, engine: str) -> None:
        self._scope, self._engine = scope, engine
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = target = "?"
        try:
            async with asyncio.timeout(PATIENCE_S):
                method, target, body = await receive(reader)
            passed = allowed_body(self._scope, method, target, body)
        except Forbidden as error:
            say(f"refused {method} {target[:300]}: {error}")
            writer.write(answer(403, f"refused by the socket proxy: {error}"))
        except (Malformed, asyncio.LimitOverrunError, ValueError) as error:
            say(f"refused a malformed request: {error}")
            writer.write(answer(400, f"refused by the socket proxy: {error}"))
        else:
            await self._relay(method, target, passed, reader, writer)
        await writer.drain()

    async def _relay(
        self, method: str, target: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """The Engine's answer, until either side ends it."""
        try:
            answers, asks = await asyncio.open_unix_connection(self._engine)
        except OSError as error:
            say(f"the Engine does not answer: {error}")
            writer.write(answer(502, f"no Docker Engine behind the socket proxy: {error}"))
            return
        try:
            asks.write(request(method, target, body))
            relay = asyncio.create_task(_copy(answers, writer))
            gone = asyncio.create_task(reader.read(1))
            await asyncio.wait({relay, gone}, return_when=asyncio.FIRST_COMPLETED)
            for task in (relay, gone):
                task.cancel()
            await asyncio.gather(relay, gone, return_exceptions=True)
        finally:
            asks.close()

    async def remove_tasks(self) -> int:
        """Remove every task of the project; how many there were."""
        filters = {"label": [f"{name}={value}" for name, value in self._scope.labels.items()]}
        found = json.loads(await self._ask("GET", f"/containers/json?all=1&filters={quote(json.dumps(filters))}"))
        names = [container["Names"][0].lstrip("/") for container in found]
        await asyncio.gather(*(self._ask("DELETE", f"/containers/{name}?force=1&v=1") for name in names))
        return len(names)

    async def keep(self, services: frozenset[str], *, pause_s: float = PAUSE_S) -> None:
        """Start the project's parts again when they were killed."""

        async def start(part: str) -> bytes:
            return await self._call("POST", f"/containers/{part}/start")

        events = own_request("GET", events_target(self._scope.project))
        await keep(self._engine, events, Deaths(self._scope.project, services), start, say, pause_s=pause_s)

    async def _ask(self, method: str, target: str) -> bytes:
        allowed_body(self._scope, method, target, b"")
        return await self._call(method, target)

    async def _call(self, method: str, target: str) -> bytes:
        """A call of our own."""
        answers, asks = await asyncio.open_unix_connection(self._engine)
        asks.write(own_request(method, target))
        received = await answers.read()
        asks.close()
        return received.partition(b"\r\n\r\n")[2]


async def receive(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    """Method, target and body of one request. Raises Malformed for anything but plain HTTP/1.1 with a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    request_line, *lines = head[:-4].split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or words[2] != "HTTP/1.1":
        raise Malformed("the request line")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or name != name.strip() or name in headers:
            raise Malformed(f"header {name[:40]}")
        headers[name] = value.strip()
    if "transfer-encoding" in headers or "upgrade" in headers:
        raise Malformed("transfer-encoding or upgrade")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and int(length) <= BODY_LIMIT):
        raise Malformed("content-length")
    return words[0], words[1], await reader.readexactly(int(length))


def request(method: str, target: str, body: bytes) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
    if body:
        head += "Content-Type: application/json\r\n"
    if method == "POST":
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + body


def own_request(method: str, target: str) -> bytes:
    """HTTP/1.0, so that its answer is neither chunked nor kept open."""
    return request(method, target, b"").replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def answer(status: int, message: str) -> bytes:
    """An error in the Engine's own form, which its clients show."""
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(64 * 1024):
        sink.write(data)
        await sink.drain()


def say(text: str) -> None:
    print(text.encode("ascii", "backslashreplace").decode(), flush=True)  # noqa: T201 - the container's log


async def run(listen: Path, engine: str, scope: Scope, kept: frozenset[str]) -> None:
    proxy, stop = Proxy(scope, engine), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listen.unlink(missing_ok=True)  # noqa: ASYNC240 - before anything is served
    server = await asyncio.start_unix_server(proxy.serve, listen, limit=HEAD_LIMIT)
    # Only the orchestrator's container has this directory besides us; it runs as another user.
    os.chmod(listen, 0o666)  # noqa: S103
    say(f"serving project {scope.project}, network {scope.network}, images {' '.join(scope.images)}")
    keeping = asyncio.create_task(proxy.keep(kept))
    await stop.wait()
    keeping.cancel()
    server.close()
    if proxy.open:
        return
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(REMOVAL_S):
            removed = await proxy.remove_tasks()
        if removed:
            say(f"removed {removed} tasks whose orchestrator was gone")


def check(listen: Path) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(str(listen))
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        return 0 if b" 200 " in connection.recv(64) else 1


def main() -> int:
    environment = os.environ
    listen = Path(environment.get("LISTEN", "/gate/docker.sock"))
    if "--check" in sys.argv[1:]:
        return check(listen)
    try:
        scope = Scope(
            environment["PROJECT"], environment["SERVICE"], environment["NETWORK"], tuple(environment["IMAGES"].split())
        )
    except KeyError as error:
        say(f"{error} is not set")
        return 2
    kept = frozenset(environment.get("KEEP", "").split())
    asyncio.run(run(listen, environment.get("ENGINE", "/var/run/docker.sock"), scope, kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
