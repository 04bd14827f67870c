"""For every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rollproof.orchestrator.redis_server import RedisServer, provide_redis

pytest.register_assert_rewrite("rollproof.testing")


def pytest_configure() -> None:
    """Python 3.11's asyncio makes a stray event loop where none was ever set, which would fail as unclosed."""
    asyncio.set_event_loop(None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One for the whole run. Tests keep apart by ids and namespaces of their own."""
    server = await provide_redis(tmp_path_factory.mktemp("redis"))
    yield server
    await server.stop()


@pytest.fixture
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One for a test that makes it fail."""
    server = await provide_redis(tmp_path_factory.mktemp("own-redis"))
    yield server
    await server.stop()
