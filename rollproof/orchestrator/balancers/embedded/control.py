"""The control interface: HTTP/1.1 with JSON on a unix socket that only its owner may open.

    PUT  /v1/table      the whole routing table; 200, 409 where it is older than the one in force, 400 where it is none
    GET  /v1/table      the table in force; 404 before the first
    GET  /v1/counters   {"generation", "targets": {id: {outstanding, requests, connections}}, "totals", "nodes"}
    POST /v1/cut        {"target": id} -> {"cut": n}
    GET  /v1/health     {"status": "ok", "pid", "listen", "generation", ...}
    POST /v1/stop       {"grace_s": seconds} -> 202: accepts no more, lets requests in flight end, exits

Errors are {"error": ..., "hint": ...}.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollproof.core.errors import Permanent, RollproofError, UsageError
from rollproof.orchestrator.balancers.embedded.read_table import read_table

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.server import EmbeddedBalancer

SOCKET_PATH_MAX = 100
"""Bytes. sockaddr_un holds 108 on Linux, 104 on macOS, the final zero included."""

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
_GRACE_S = 5.0

Answer = tuple[int, Any]


class ControlServer:
    """Serves one balancer's control socket."""

    def __init__(self, balancer: EmbeddedBalancer, path: Path) -> None:
        self._balancer = balancer
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._routes: dict[tuple[str, str], Callable[[Any], Answer]] = {
            ("PUT", "/v1/table"): self._put_table,
            ("GET", "/v1/table"): self._get_table,
            ("GET", "/v1/counters"): lambda _: (200, balancer.plane.counters()),
            ("POST", "/v1/cut"): self._cut,
            ("GET", "/v1/health"): self._health,
            ("POST", "/v1/stop"): self._stop,
        }

    async def start(self) -> None:
        """Raises UsageError: the path is too long, or another balancer is behind it."""
        check_socket_path(self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=bind_socket(self._path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
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
            method, path, _ = head[0].split(" ")
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
            length = int(fields.get("content-length", 0))
            if not 0 <= length <= _BODY_MAX:
                raise ValueError("body too large")
            body = await reader.readexactly(length)
        status, answer = self._answer(method, path, body)
        data = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await writer.drain()
        return fields.get("connection", "").lower() != "close"

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        route = self._routes.get((method, path))
        if route is None:
            known = any(path == p for _, p in self._routes)
            return (405 if known else 404), {"error": f"no {method} {path} here", "hint": "see /v1/health, /v1/table"}
        try:
            return route(json.loads(body) if body else None)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return 400, {"error": f"not JSON: {error}", "hint": ""}
        except Permanent as error:
            return 409, {"error": error.message, "hint": error.hint}
        except RollproofError as error:
            return error.wire_status, {"error": error.message, "hint": error.hint}

    def _put_table(self, body: Any) -> Answer:
        plane = self._balancer.plane
        plane.publish(read_table(body))
        return 200, {"generation": plane.table.generation}

    def _get_table(self, _: Any) -> Answer:
        table = self._balancer.plane.table
        if table.generation < 0:
            return 404, {"error": "no routing table yet", "hint": "PUT /v1/table"}
        return 200, table.to_json()

    def _cut(self, body: Any) -> Answer:
        target = body.get("target") if isinstance(body, dict) else None
        if not isinstance(target, str):
            raise UsageError('cut: no target given; expected {"target": "<id>"}')
        return 200, {"cut": self._balancer.plane.cut(target)}

    def _health(self, _: Any) -> Answer:
        balancer = self._balancer
        return 200, {
            "status": "stopping" if balancer.stop_requested.is_set() else "ok",
            "pid": os.getpid(),
            "listen": f"{balancer.options.host}:{balancer.port}",
            "generation": balancer.plane.table.generation,
            "access_log": str(balancer.options.access_log),
            "access_log_lines_lost": balancer.lines_lost,
        }

    def _stop(self, body: Any) -> Answer:
        grace_s = body.get("grace_s", _GRACE_S) if isinstance(body, dict) else _GRACE_S
        if not isinstance(grace_s, int | float) or not 0 <= grace_s <= 3600:
            raise UsageError("stop: grace_s is no number of seconds between 0 and 3600")
        self._balancer.request_stop(float(grace_s))
        return 202, {"stopping": True}


def check_socket_path(path: Path) -> None:
    """Raises UsageError where the system could not bind or reach so long a path."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        raise UsageError(
            f"the control socket's path has {size} bytes, at most {SOCKET_PATH_MAX} are possible: {path}",
            hint="run in a directory with a shorter path",
        )


def bind_socket(path: Path) -> socket.socket:
    """A bound unix socket of mode 0600; a left-over of a balancer that is gone is replaced. Raises UsageError."""
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
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"another balancer already serves {path}", hint="attach to it, or stop it first"
            ) from error
        raise UsageError(f"cannot make the control socket {path}: {error.strerror}") from error
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
