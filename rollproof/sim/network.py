"""Connections between hosts that exist in memory only: the network of a simulation.

Every process has a host of its own, as every Fargate task has a network interface. `rules` hold what faults do: between
whom nothing gets through, and what takes longer.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import itertools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollproof.sim.process import CURRENT, SimProcess
from rollproof.sim.transport import Endpoint, MemoryTransport

LATENCY_S = 0.00025
"""One way between two hosts of a region; ours, no figure of AWS's."""

EVERYWHERE = ("0.0.0.0", "::", "", "localhost", "127.0.0.1", "::1")  # noqa: S104 - hosts in memory
HERE = "127.0.0.1"
"""The host of code that belongs to no process: the load balancer's nodes, the clients, the orchestrator."""

_FIRST_EPHEMERAL = 32_768


@dataclass(frozen=True)
class Path:
    """How things are between two hosts. `is_cut`: nothing gets through, and nobody is told."""

    latency_s: float = LATENCY_S
    is_cut: bool = False


@dataclass
class _Listener:
    factory: Callable[[], asyncio.BaseProtocol]
    process: SimProcess | None
    context: contextvars.Context


Rule = Callable[[str, str, Path], Path]
"""The path from one host to another, given the path without this rule."""


class Network:
    """Names are hosts: "10.0.1.5". What runs outside of a process is at HERE, unless it listens by another name."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._transports: dict[MemoryTransport, None] = {}
        self._ports = itertools.count(_FIRST_EPHEMERAL)

    def path(self, source: str, destination: str) -> Path:
        found = Path()
        for rule in self.rules.values():
            found = rule(source, destination, found)
        return found

    def refresh(self) -> None:
        """Rules or processes have changed: what was held up may move now."""
        for transport in list(self._transports):
            transport.flush()

    def hold(self, rule: str, host: str) -> None:
        """What `host` sends is held up from now on, as long as the rule stands. It still accepts connections."""

        def held(source: str, destination: str, path: Path) -> Path:
            return replace(path, is_cut=True) if source == host and destination != host else path

        self.rules[rule] = held

    def drop(self, process: SimProcess) -> None:
        """A process has ended: its peers are told by FIN, as its kernel would; it hears nothing any more."""
        for address in [address for address, x in self._listeners.items() if x.process is process]:
            del self._listeners[address]
        for transport in [x for x in self._transports if x.process is process]:
            transport.die()

    def close(self) -> None:
        """The end of the simulation: nothing is open any more."""
        self._listeners.clear()
        for transport in list(self._transports):
            transport.die()

    # --- listening and connecting -------------------------------------------------------------------------

    def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | Sequence[str] | None, port: int
    ) -> MemoryServer:
        """Raises OSError where the port is taken."""
        process = CURRENT.get()
        wanted = host if isinstance(host, str) else ""
        own = HERE if process is None else process.host
        name = own if process is not None or wanted in EVERYWHERE else wanted
        port = port or next(self._ports)
        if (name, port) in self._listeners:
            raise OSError(errno.EADDRINUSE, f"port {port} is already in use")
        self._listeners[name, port] = _Listener(factory, process, contextvars.copy_context())
        return MemoryServer(self, (name, port))

    def stop_listening(self, address: tuple[str, int]) -> None:
        self._listeners.pop(address, None)

    def resolve(self, host: Any, port: Any) -> list[tuple[Any, ...]]:
        """As `getaddrinfo`. Raises socket.gaierror for a host that is not in here."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in EVERYWHERE and not any(name == known for known, _ in self._listeners):
            raise socket.gaierror(socket.EAI_NONAME, f"{name}: no such host in the in-process stage")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, int(port or 0)))]

    async def connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Raises OSError: refused, or a host that is not in here."""
        process = CURRENT.get()
        own = HERE if process is None else process.host
        name = own if host in EVERYWHERE else host
        source, destination = Endpoint(own, next(self._ports)), Endpoint(name, port)
        while self.path(own, name).is_cut:  # the kernel sends its SYN again and again, until whoever waits gives up
            await asyncio.sleep(1.0)
        await asyncio.sleep(2 * self.path(own, name).latency_s)
        listener = self._listeners.get((name, port))
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"connection to {name}:{port} refused")
        near = MemoryTransport(self, factory(), source, destination, process, contextvars.copy_context())
        far_context = listener.context.copy()
        far = MemoryTransport(
            self, listener.context.copy().run(listener.factory), destination, source, listener.process, far_context
        )
        near.join(far)
        self._transports |= {near: None, far: None}
        far.begin()
        near.begin()
        return near, near.get_protocol()

    def forget(self, transport: MemoryTransport) -> None:
        self._transports.pop(transport, None)


class MemoryServer(asyncio.AbstractServer):
    """What `create_server` gives: it listens until closed."""

    def __init__(self, network: Network, address: tuple[str, int]) -> None:
        self._network, self._address, self._is_serving = network, address, True

    @property
    def sockets(self) -> tuple[Any, ...]:
        return (_Listening(self._address),) if self._is_serving else ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def is_serving(self) -> bool:
        return self._is_serving

    async def start_serving(self) -> None:
        """It does from the beginning."""

    async def serve_forever(self) -> None:
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        if self._is_serving:
            self._is_serving = False
            self._network.stop_listening(self._address)

    async def wait_closed(self) -> None:
        """It is closed at once."""


@dataclass(frozen=True)
class _Listening:
    """As much of a listening socket as servers ask for."""

    address: tuple[str, int]
    family: int = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return self.address
