"""An event loop in virtual time: where a real one would wait, this one moves its clock to the next deadline.

Nothing outside of the process takes part, so a simulation of an hour lasts as long as its callbacks need, and the
same callbacks run in the same order each time. Threads are the exception: while one works, time stands still and
the loop waits for it (threads.py).
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rollproof.core.errors import Permanent
from rollproof.sim.process import CURRENT, track
from rollproof.sim.threads import Executor, Threads

if TYPE_CHECKING:
    from rollproof.sim.network import MemoryServer, Network

BEGINS_AT_S = 1_000.0
"""The loop's time at its start. Not 0, which much code takes for "never"."""

_PATIENCE_S = 10.0


class _Selector(selectors.DefaultSelector):
    """Asks the loop before it waits."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        wait_s = self.loop.before_select(timeout)
        return [] if wait_s < 0 else super().select(wait_s)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`network` is what `create_server` and `create_connection` connect to; there is no other."""

    def __init__(self, network: Network) -> None:
        self._virtual_now = BEGINS_AT_S
        self.on_advance: Callable[[float], None] = lambda _now: None
        selector = _Selector()
        selector.loop = self
        self.threads = Threads(self)
        self._executor = Executor(self.threads)
        self.network = network
        super().__init__(selector)
        self._clock_resolution = 0.0  # a timer is due at its time, not a nanosecond before
        self.set_task_factory(track)

    def time(self) -> float:
        """Seconds; they pass only from one deadline to the next."""
        return self._virtual_now

    def before_select(self, timeout: float | None) -> float:
        """What the loop waits for in real seconds before its next pass; below 0: it does not even look.

        Raises Permanent where everything waits for something that nothing will bring about.
        """
        self.threads.settle()
        if self._ready:  # type: ignore[attr-defined]  # also what a thread has just reported
            return -1.0
        if self.threads.are_loose:
            return _PATIENCE_S
        if timeout is not None:
            # The heap's top is not cancelled: the loop has just seen to that. A hair past it, so that whoever computed
            # the deadline as a sum of floats finds it over: else it might wait for ever for a rest too small to add.
            due = self._scheduled[0]._when  # type: ignore[attr-defined]
            self._virtual_now = math.nextafter(max(self._virtual_now, due), math.inf)
            self.on_advance(self._virtual_now)
            return -1.0
        raise Permanent("the simulation has come to a standstill: everything waits for something else")

    # --- the network ------------------------------------------------------------------------------------

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: Any = None,
        **_options: Any,
    ) -> MemoryServer:
        """Listens at the current process's address. Raises OSError where that port is taken."""
        if sock is not None or ssl:
            raise OSError("the in-process stage gives no real sockets, and no TLS, to a server")
        return self.network.listen(protocol_factory, host, port or 0)

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: Any = None,
        **_options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Raises ConnectionRefusedError where nobody listens, OSError for a host outside of the simulation."""
        if sock is not None or ssl:
            raise OSError(f"{host}:{port}: the in-process stage has no real network and no TLS")
        return await self.network.connect(protocol_factory, str(host), int(port or 0))

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> list[tuple[Any, ...]]:
        return self.network.resolve(host, port)

    # --- what would be the operating system's ---------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """The current process's; outside of one, this program's own."""
        process = CURRENT.get()
        if process is None:
            super().add_signal_handler(sig, callback, *args)
        else:
            process.handlers[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        process = CURRENT.get()
        if process is None:
            return super().remove_signal_handler(sig)
        return process.handlers.pop(sig, None) is not None

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self.threads.calls_in()
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        return super().run_in_executor(executor or self._executor, func, *args)
