"""The control interface of every balancer: HTTP/1.1 with JSON, on a unix socket of its owner's or on a private port.

    PUT  /v1/table      the whole routing table; 200, 409 where it is older than the one in force, 400 where it is none
    GET  /v1/table      the table in force; 404 before the first
    GET  /v1/counters   {"generation", "targets": {id: {outstanding, requests, connections}}, "totals", "nodes"}
    POST /v1/cut        {"target": id} -> {"cut": n}
    GET  /v1/health     {"status": "ok", "pid", "listen", "generation", "access_log", ...}
    POST /v1/stop       {"grace_s": seconds} -> 202: accepts no more, lets requests in flight end, exits

Errors are {"error": ..., "hint": ...}. What a route does is its balancer's: `routes` maps method and path to it.
Beside a socket stands `<socket>.pid`, the pid of who serves it.

Standard library only: the image of lb/Dockerfile has nothing else.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from rollproof.core.errors import Permanent, RollproofError, UsageError

Answer = tuple[int, Any]
Handler = Callable[[Any], Awaitable[Answer]]
"""Gets the body's JSON, or the query's fields where there is no body."""

SOCKET_PATH_MAX = 100
"""Bytes. sockaddr_un holds 108 on Linux, 104 on macOS, the final zero included."""

USAGE_EXIT = 2
"""Exit code of a balancer that was started with something wrong: stderr says what."""

_GRACE_S = 5.0
_BODY_MAX = 16 * 1024 * 1024
_IDLE_S = 60.0
_PHRASES = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
}


class ControlServer:
    """Serves `routes`, keyed by method and path. `address` is a socket's path or HOST:PORT."""

    def __init__(self, address: str, routes: Mapping[tuple[str, str], Handler]) -> None:
        self._address, self._routes = address, routes
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def bind(self) -> None:
        """Take the address; nobody is served yet. Raises UsageError: it cannot be had, or a balancer is behind it."""
        host_port = split_host_port(self._address)
        if host_port is None:
            path = Path(self._address)
            check_socket_path(path)
            self._socket = _bind(path)
            return
        try:
            self._socket = socket.create_server(host_port)
        except OSError as error:
            raise UsageError(f"cannot listen on {self._address}: {error.strerror}") from error

    async def start(self) -> None:
        assert self._socket is not None  # noqa: S101 - bound
        is_unix = self._socket.family == socket.AF_UNIX
        start = asyncio.start_unix_server if is_unix else asyncio.start_server
        self._server = await start(self._serve, sock=self._socket)

    async def stop(self) -> None:
        if self._socket is not None:
            if self._server is not None:
                self._server.close()
            self._socket.close()
            if split_host_port(self._address) is None:
                forget(Path(self._address))
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, TimeoutError):
            pass  # whoever asked is gone, or speaks no HTTP: only this connection ends
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(_IDLE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
            length = int(fields.get("content-length", 0))
            if not 0 <= length <= _BODY_MAX:
                raise ValueError("body too large")
            body = await reader.readexactly(length)
        status, answer = await self._answer(method, target, body)
        data = json.dumps(answer).encode()
        first = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
        writer.write(f"{first}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return fields.get("connection", "").lower() != "close"

    async def _answer(self, method: str, target: str, body: bytes) -> Answer:
        path, _, query = target.partition("?")
        route = self._routes.get((method, path))
        if route is None:
            known = any(path == p for _, p in self._routes)
            return (405 if known else 404), {"error": f"no {method} {path} here", "hint": "see /v1/health, /v1/table"}
        try:
            return await route(json.loads(body) if body else {k: v[0] for k, v in parse_qs(query).items()})
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return 400, {"error": f"not JSON: {error}", "hint": ""}
        except Permanent as error:
            return 409, {"error": error.message, "hint": error.hint}
        except RollproofError as error:
            return error.wire_status, {"error": error.message, "hint": error.hint}


def seconds_to_stop(body: Any) -> float:
    """The grace of a POST /v1/stop. Raises UsageError."""
    grace_s = body.get("grace_s", _GRACE_S) if isinstance(body, dict) else _GRACE_S
    if not isinstance(grace_s, int | float) or not 0 <= grace_s <= 3600:
        raise UsageError("stop: grace_s is no number of seconds between 0 and 3600")
    return float(grace_s)


def target_to_cut(body: Any) -> str:
    """The target of a POST /v1/cut. Raises UsageError."""
    target = body.get("target") if isinstance(body, dict) else None
    if not isinstance(target, str):
        raise UsageError('cut: no target given; expected {"target": "<id>"}')
    return target


def pid_file(control: Path) -> Path:
    return control.with_name(control.name + ".pid")


def forget(control: Path) -> None:
    """Remove the socket and its pid file, of a balancer that is gone."""
    for path in (control, pid_file(control)):
        with suppress(OSError):
            path.unlink()


def check_socket_path(path: Path) -> None:
    """Raises UsageError where the system could not bind or reach so long a path."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        raise UsageError(
            f"the control socket's path has {size} bytes, at most {SOCKET_PATH_MAX} are possible: {path}",
            hint="run in a directory with a shorter path",
        )


def split_host_port(address: str) -> tuple[str, int] | None:
    """None where `address` is the path of a socket."""
    host, colon, port = address.rpartition(":")
    if "/" in address or not colon or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


async def ask(address: str, method: str, path: str, body: Any, *, timeout_s: float) -> tuple[int, Any]:
    """One call. Raises OSError, TimeoutError or ValueError where nobody answers, or not in HTTP."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    host_port = split_host_port(address)
    async with asyncio.timeout(timeout_s):
        reader, writer = await (
            asyncio.open_unix_connection(address) if host_port is None else asyncio.open_connection(*host_port)
        )
        try:
            writer.write(head.encode() + data)
            answer = await reader.read()
        finally:
            writer.close()
    found, separator, payload = answer.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("it closed the connection")
    return int(found.split(b" ", 2)[1]), json.loads(payload) if payload else None


def _bind(path: Path) -> socket.socket:
    """A bound unix socket of mode 0600, its pid file beside it. Raises UsageError.

    A left-over of a balancer that is gone is replaced.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _is_answered(path):
                raise
            path.unlink()
            sock.bind(str(path))
        path.chmod(0o600)  # before it listens: nobody can have connected
        pid_file(path).write_text(f"{os.getpid()}\n")  # from here on whoever wants to end it can find it
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"another balancer already serves {path}", hint="attach to it, or stop it first"
            ) from error
        raise UsageError(f"cannot make the control socket {path}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
