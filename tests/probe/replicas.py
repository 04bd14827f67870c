"""Replicas of a real FastMCP application behind a switch that takes them in turn: one port, no stickiness.

All run in the test's own event loop, and each has a memory of its own, as tasks have. `turns` says which replica the
next requests reach; without it they alternate.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import count
from typing import Any

import uvicorn
from starlette.applications import Starlette

DEADLINE_S = 10.0


class Switch:
    """An ASGI application that hands each request to one replica.

    `served`: (method, replica) in order; `session_ids`: every Mcp-Session-Id that a request carried.
    """

    def __init__(self, replicas: Sequence[Starlette]) -> None:
        self._replicas: list[Any] = list(replicas)
        self._turn = count()
        self.turns: deque[int] = deque()
        self.only: int | None = None  # all requests go there
        self.served: list[tuple[str, int]] = []
        self.session_ids: set[str] = set()
        self.url = ""

    def replace(self, number: int, application: Any) -> None:
        """Put another ASGI application in a replica's place; the replica's own lifespan goes on."""
        self._replicas[number] = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = self._next()
        self.served.append((scope["method"], number))
        self.session_ids |= {value.decode() for name, value in scope["headers"] if name == b"mcp-session-id"}
        await self._replicas[number](scope, receive, send)

    def _next(self) -> int:
        if self.only is not None:
            return self.only
        return self.turns.popleft() if self.turns else next(self._turn) % len(self._replicas)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the test run's."""
        yield


@contextlib.asynccontextmanager
async def switched(make: Callable[[int], Starlette], replicas: int = 2) -> AsyncIterator[Switch]:
    """`make(number)` builds one replica. Its lifespan is the block."""
    applications = [make(number) for number in range(replicas)]
    switch = Switch(applications)
    async with contextlib.AsyncExitStack() as stack:
        for application in applications:
            await stack.enter_async_context(application.router.lifespan_context(application))
        config = uvicorn.Config(
            switch, host="127.0.0.1", port=0, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=0
        )
        server = _Server(config)
        serving = asyncio.ensure_future(server.serve())
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not server.started:
                    if serving.done():
                        await serving
                    await asyncio.sleep(0)
            switch.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
            yield switch
        finally:
            server.should_exit = True
            await serving
