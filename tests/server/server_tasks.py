"""Tasks of the sample server in this process, behind one port: requests to a client need a network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import cycle

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from server.app import create_app
from server.settings import Settings

DEADLINE_S = 20.0


class _RoundRobin:
    """Each request goes to the next task, as behind a load balancer without stickiness."""

    def __init__(self, apps: list[Starlette]) -> None:
        self._apps = apps
        self._turns = cycle(apps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await next(self._turns)(scope, receive, send)
            return
        await receive()
        async with contextlib.AsyncExitStack() as stack:
            for app in self._apps:
                await stack.enter_async_context(app.router.lifespan_context(app))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the test run's."""
        yield


@contextlib.asynccontextmanager
async def replicas(settings: Settings, *task_ids: str) -> AsyncIterator[str]:
    """The URL of the MCP endpoint of these tasks, which run as long as the block."""
    config = uvicorn.Config(
        _RoundRobin([create_app(settings, task_id=task_id) for task_id in task_ids]),
        host="127.0.0.1",
        port=0,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=0,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not server.started:
                if serving.done():
                    await serving
                await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        await serving
