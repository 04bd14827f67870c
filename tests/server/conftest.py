"""Fixtures: a real Redis, the server's stores over it, and the server as a real process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from server_process import ServerProcess

from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from server.memory_store import InMemorySessionStore
from server.redis_store import RedisSessionStore
from server.session_store import SessionStore

TTL_S = 60

# looptime asks for "the" event loop around every synchronous test. Unless one was ever set, Python 3.11 then makes
# one that nobody closes, and the next asynchronous test fails of the warning. Once set, even to none, it makes none.
asyncio.set_event_loop(None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One for the whole run. Tests keep apart by session ids of their own."""
    server = await provide_redis(tmp_path_factory.mktemp("redis"))
    yield server
    await server.stop()


@pytest.fixture
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One for a test that makes it fail."""
    server = await provide_redis(tmp_path_factory.mktemp("own-redis"))
    yield server
    await server.stop()


@pytest.fixture
async def redis_store(redis_server: RedisServer) -> AsyncIterator[RedisSessionStore]:
    store = RedisSessionStore(redis_server.url, ttl_s=TTL_S, idempotency_ttl_s=TTL_S)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    """Both stores, one after the other: they promise the same."""
    if request.param == "memory":
        return InMemorySessionStore(ttl_s=TTL_S, idempotency_ttl_s=TTL_S)
    return request.getfixturevalue("redis_store")  # type: ignore[no-any-return]


@pytest.fixture
def session_id() -> str:
    return f"client-{uuid.uuid4()}"


@pytest.fixture
async def start_server() -> AsyncIterator[ServerProcess.Starter]:
    """`await start_server(NAME="value", ...)`: `python -m server` on a port of its own, until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(**environment: str) -> ServerProcess:
            return await stack.enter_async_context(ServerProcess.run(environment))

        yield start
