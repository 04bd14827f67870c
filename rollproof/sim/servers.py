"""uvicorn in a process of a simulation: the same server, less its polling, and in an order that repeats itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from rollproof.sim.process import CURRENT

_TICK_S = 5.0
"""How often a server renews its Date header, as uvicorn does each second; a signal wakes it at once."""


class OrderedSet(dict[Any, None]):
    """As much of a set as uvicorn uses, in the order of adding."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    def remove(self, item: Any) -> None:
        del self[item]

    def update(self, items: Iterable[Any]) -> None:  # type: ignore[override]
        for item in items:
            self[item] = None


@contextlib.contextmanager
def frugal_servers() -> Iterator[None]:
    """While the block lasts, a server waits for its process's signals, where it would look ten times a second."""
    server_class: Any = uvicorn.Server
    state_class: Any = ServerState
    main_loop, init = server_class.main_loop, state_class.__init__

    async def wait_for_signals(server: uvicorn.Server) -> None:
        process = CURRENT.get()
        if process is None:
            await main_loop(server)
            return
        while not await server.on_tick(0):
            process.signalled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await process.signalled.wait()

    def begin(state: ServerState) -> None:
        init(state)
        state.connections = OrderedSet()  # type: ignore[assignment]
        state.tasks = OrderedSet()  # type: ignore[assignment]

    server_class.main_loop = wait_for_signals
    state_class.__init__ = begin
    try:
        yield
    finally:
        server_class.main_loop = main_loop
        state_class.__init__ = init
