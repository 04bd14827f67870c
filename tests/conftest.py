"""For every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rollproof.orchestrator.redis_server import RedisServer, provide_redis

_CONTRACTS = ("clients", "cookies", "routing", "streams")
pytest.register_assert_rewrite(  # by name: the package itself is loaded already where its pytest plugin is installed
    "rollproof.testing.balancer_contract",
    *(f"rollproof.testing.balancer_contract_{part}" for part in _CONTRACTS),
    "rollproof.testing.balancer_play",
    "rollproof.testing.balancer_target",
    "rollproof.testing.balancer_wire",
    "rollproof.testing.fakes",
    "rollproof.testing.runtime_contract",
)


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
