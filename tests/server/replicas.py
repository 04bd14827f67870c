"""Tasks of the sample server in this process, each on a port of its own: requests to a client need a network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import uvicorn

from server.app import create_app
from server.settings import Settings

DEADLINE_S = 20.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the test run's."""
        yield


@contextlib.asynccontextmanager
async def replica(settings: Settings, task_id: str) -> AsyncIterator[str]:
    """The URL of the MCP endpoint of a task that runs as long as the block."""
    config = uvicorn.Config(
        create_app(settings, task_id=task_id),
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
