"""Two replicas of a server on loopback that share a Redis, and a client that chooses which of them it calls."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from fastmcp.server.http import StarletteWithLifespan
from pair import Pair, Replica, StartReplica, make_server

from rollproof.orchestrator.redis_server import RedisServer
from rollproof.sessions import Options, resilient


def make_app(
    name: str, redis_url: str, namespace: str, auth: Any = None, *, json_response: bool = False, **options: Any
) -> StarletteWithLifespan:
    chosen = Options(**{"namespace": namespace, "heartbeat_s": 0.2, "dead_after_s": 1.0, **options})
    mcp = make_server(name, auth)
    return resilient(mcp, redis_url, options=chosen, json_response=json_response, handle_signals=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pair(redis_server: RedisServer) -> AsyncIterator[Pair]:
    """For the tests of a file that leave both replicas as they were; their own session keeps them apart."""
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(Replica.serving(name, make_app(name, redis_server.url, "shared")))
            for name in "ab"
        ]
        pair = Pair(a, b)
        yield pair
        await pair.close()


@pytest.fixture
async def start_replica(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[StartReplica]:
    """`await start_replica("a", cache_s=1)`: until the test ends. Tests keep apart by a namespace of their own."""
    async with AsyncExitStack() as stack:

        async def start(name: str, redis_url: str = "", auth: Any = None, **options: Any) -> Replica:
            namespace = options.pop("namespace", re.sub(r"\W", "-", request.node.name))
            app = make_app(name, redis_url or redis_server.url, namespace, auth, **options)
            return await stack.enter_async_context(Replica.serving(name, app))

        yield start


@pytest.fixture
async def pair(start_replica: StartReplica) -> AsyncIterator[Pair]:
    pair = Pair(await start_replica("a"), await start_replica("b"))
    yield pair
    await pair.close()
