"""Fixtures: a real Redis, the server's stores over it, and the server as a real process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from server_process import ServerProcess

from rollproof.orchestrator.redis_server import RedisServer
from server.memory_store import InMemorySessionStore
from server.redis_store import RedisSessionStore
from server.session_store import SessionStore

TTL_S = 60

# looptime asks for "the" event loop around every synchronous test. Unless one was ever set, Python 3.11 then makes
# one that nobody closes, and the next asynchronous test fails of the warning. Once set, even to none, it makes none.
asyncio.set_event_loop(None)


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
