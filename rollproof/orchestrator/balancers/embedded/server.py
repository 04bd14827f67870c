"""The embedded balancer as a whole: listener, data plane, control socket, access log. Runs in any event loop.

async with serve(BalancerOptions(access_log=path)) as balancer:
    balancer.plane.publish(table)
    ... http://127.0.0.1:{balancer.port}/
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from rollproof.core.errors import UsageError
from rollproof.orchestrator.balancers.control_server import ControlServer
from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
from rollproof.orchestrator.balancers.embedded.control import ControlRoutes
from rollproof.orchestrator.balancers.embedded.cookies import KEY_SIZE, Seal, load_key
from rollproof.orchestrator.balancers.embedded.log_writer import LogWriter
from rollproof.orchestrator.balancers.embedded.plane import DataPlane
from rollproof.orchestrator.runtimes.freezer import Freezer, ProcessFreezer

_BACKLOG = 4096
_WATCH_S = 0.005
_CLOSE_S = 1.0


@dataclass(frozen=True)
class BalancerOptions:
    """How a balancer is started. Port 0 takes a free one; without `key_file` cookies do not outlive the process.

    `tasks`: the process runtime's task directories, whose processes it freezes where the table's routing is exclusive.
    """

    access_log: Path
    host: str = "127.0.0.1"
    port: int = 0
    control: Path | None = None
    key_file: Path | None = None
    tasks: Path | None = None


class EmbeddedBalancer:
    """`start`, then `port` says where it listens; `stop` when done. Raises UsageError where it cannot start."""

    def __init__(self, options: BalancerOptions, freezer: Freezer | None = None) -> None:
        self.options = options
        self.port = 0
        self.stop_requested = asyncio.Event()
        self.grace_s = 0.0
        key = os.urandom(KEY_SIZE) if options.key_file is None else load_key(options.key_file)
        self._log = LogWriter(options.access_log)
        if freezer is None and options.tasks is not None:
            freezer = ProcessFreezer(options.tasks)
        self.plane = DataPlane(self._log, Seal(key), freezer=freezer)
        self._server: asyncio.Server | None = None
        self._control: ControlServer | None = None
        if options.control is not None:
            self._control = ControlServer(str(options.control), ControlRoutes(self).routes())
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        try:
            listening = _listen(self.options.host, self.options.port)
            try:
                if self._control is not None:
                    self._control.bind()
                    await self._control.start()
            except BaseException:
                listening.close()
                raise
        except BaseException:
            self._log.close()
            raise
        self.port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ClientConnection(self.plane), sock=listening, backlog=_BACKLOG)
        self._sweeper = loop.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.plane.sweep_interval_s)
            self.plane.sweep()

    def request_stop(self, grace_s: float) -> None:
        """From the control socket or a signal: whoever runs the balancer then calls `stop`."""
        self.grace_s = grace_s
        self.stop_requested.set()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Accept no more; let requests in flight end for `grace_s` seconds; then close everything. Idempotent."""
        plane = self.plane
        if plane.is_stopping:
            return
        plane.is_stopping = True
        if self._server is not None:
            self._server.close()
        plane.sweep()
        await _wait_while(lambda: any(client.exchange for client in plane.clients), grace_s)
        plane.close_all()
        await _wait_while(lambda: plane.has_connections, _CLOSE_S)
        if self._control is not None:
            await self._control.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._log.close()

    @property
    def lines_lost(self) -> int:
        return self._log.lost


@asynccontextmanager
async def serve(options: BalancerOptions, freezer: Freezer | None = None) -> AsyncIterator[EmbeddedBalancer]:
    """A running balancer in this process; stopped at the end. `freezer`: another one than for `options.tasks`."""
    balancer = EmbeddedBalancer(options, freezer)
    await balancer.start()
    try:
        yield balancer
    finally:
        await balancer.stop()


async def _wait_while(condition: Callable[[], bool], at_most_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + at_most_s
    while condition() and loop.time() < deadline:
        await asyncio.sleep(_WATCH_S)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises UsageError, naming who has the port where that can be known."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} on {host} is already in use{_holder(port)}",
                hint="stop that program, or choose another port",
            ) from error
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def _holder(port: int) -> str:
    """ " by <program> (pid N)", or nothing where the system does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""
