"""A Redis that restarts: real ones, killed by us or asked to end, and what the history says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rollproof.core.errors import Temporary, UsageError
from rollproof.history import HistoryList
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.redis_outage import command_counts, need_redis, restart_redis, shut_down
from rollproof.orchestrator.redis_server import RedisServer, provide_redis


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    provided = await provide_redis(tmp_path)
    yield provided
    await provided.stop()


@pytest.fixture
def history() -> HistoryList:
    return HistoryList(StageClock())


async def fill(server: RedisServer, keys: int) -> None:
    async with Redis.from_url(server.url) as client:
        for number in range(keys):
            await client.set(f"key-{number}", "x")


async def test_ours_comes_back_with_nothing_and_that_is_told(server: RedisServer, history: HistoryList) -> None:
    await fill(server, 5)
    old = server.pid
    await restart_redis(history, server)
    assert server.pid != old
    await server.ping()
    fault, mark = history.records
    assert (fault["kind"], fault["name"], fault["target"]) == ("fault", "redis-restart", server.description)
    assert (mark["kind"], mark["name"]) == ("mark", "redis-back")
    assert mark["detail"].endswith("the 5 keys it held are lost (append-only: no)")


async def test_one_that_was_given_is_left_alone(server: RedisServer, history: HistoryList) -> None:
    given = RedisServer(server.url, "REDIS_URL given")
    with pytest.raises(UsageError, match="was not started by the rehearsal"):
        await restart_redis(history, given)
    await server.ping()
    assert history.records == []


async def test_one_that_is_asked_to_end_is_waited_for(server: RedisServer, history: HistoryList) -> None:
    """As on the docker stage: it ends by its own protocol, somebody else starts it again."""
    await fill(server, 2)
    given = RedisServer(server.url, "the project's")

    async def end_and_be_kept(asked: RedisServer) -> None:
        await shut_down(asked, host="127.0.0.1")
        assert not server.is_running
        await server.restart()

    await restart_redis(history, given, end_and_be_kept)
    assert [record["name"] for record in history.records] == ["redis-restart", "redis-back"]


async def test_only_the_projects_own_is_asked_to_end(server: RedisServer) -> None:
    with pytest.raises(UsageError, match="not the project's own Redis"):
        await shut_down(server, host="redis")
    await server.ping()


async def test_one_that_does_not_answer_cannot_be_restarted(server: RedisServer, history: HistoryList) -> None:
    await server.kill()
    with pytest.raises(Temporary, match="does not answer"):
        await restart_redis(history, server)


async def test_commands_are_counted_without_those_of_counting(server: RedisServer) -> None:
    await fill(server, 3)
    before = await command_counts(server.url)
    assert before["set"] == 3
    assert await command_counts(server.url) == before


async def test_a_silent_redis_counts_nothing(server: RedisServer) -> None:
    await server.kill()
    assert await command_counts(server.url) == {}


def test_a_stage_without_redis_says_so() -> None:
    with pytest.raises(UsageError, match="has no Redis"):
        need_redis(None)
