"""Two replicas of a server on loopback that share a Redis, and a client that chooses which of them it calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from replicas import Pair, Replica, make_server

from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from rollproof.sessions import Options, resilient

asyncio.set_event_loop(None)  # as in tests/server/conftest.py


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    server = await provide_redis(tmp_path_factory.mktemp("sessions-redis"))
    yield server
    await server.stop()


@pytest.fixture
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One for a test that makes it fail."""
    server = await provide_redis(tmp_path_factory.mktemp("own-redis"))
    yield server
    await server.stop()


StartReplica = Callable[..., Coroutine[Any, Any, Replica]]


@pytest.fixture
async def start_replica(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[StartReplica]:
    """`await start_replica("a", cache_s=1)`: until the test ends. Tests keep apart by a namespace of their own."""
    async with AsyncExitStack() as stack:

        async def start(name: str, redis_url: str = "", auth: Any = None, **options: Any) -> Replica:
            json_response = options.pop("json_response", False)
            chosen = Options(**{"namespace": request.node.name, "heartbeat_s": 0.2, "dead_after_s": 1.0, **options})
            mcp = make_server(name, auth)
            app = resilient(
                mcp,
                redis_url or redis_server.url,
                options=chosen,
                json_response=json_response,
                handle_signals=False,
            )
            return await stack.enter_async_context(Replica.serving(name, app))

        yield start


@pytest.fixture
async def pair(start_replica: StartReplica) -> AsyncIterator[Pair]:
    pair = Pair(await start_replica("a"), await start_replica("b"))
    yield pair
    await pair.close()
