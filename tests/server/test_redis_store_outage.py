"""Redis away, hung, failed over, or unwilling: a clear error in bounded time, then recovery without help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from rollproof.orchestrator.redis_server import RedisServer
from server.redis_store import RedisSessionStore
from server.session_store import StoreUnavailable

BUDGET_S = 0.6


@pytest.fixture
async def store(own_redis: RedisServer) -> AsyncIterator[RedisSessionStore]:
    store = RedisSessionStore(own_redis.url, ttl_s=60, idempotency_ttl_s=60, budget_s=BUDGET_S)
    await store.write("s", "a", 1)
    yield store
    await store.close()


@pytest.fixture
async def redis(own_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        yield client


def elapsed_since(started_at: float) -> float:
    return asyncio.get_running_loop().time() - started_at


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "server"]


async def test_while_redis_is_gone_calls_fail_in_time_and_work_when_it_is_back(
    own_redis: RedisServer, store: RedisSessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await own_redis.kill()
    started_at = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(
        store.write("s", "a", 1), store.read("s"), store.increment("s", "n", 1, None), return_exceptions=True
    )
    assert elapsed_since(started_at) < BUDGET_S + 0.5
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert "it did not answer (ConnectionError)" in str(outcomes[0])
    assert own_redis.url not in str(outcomes)
    await own_redis.restart()
    assert await store.write("s", "b", 2) == {"b": 2}  # it came back empty, and knows no script
    assert (await store.increment("s", "n", 1, None)).value == 1
    assert events(caplog) == ["session_store_unavailable", "session_store_recovered"]


async def test_a_short_outage_is_bridged(own_redis: RedisServer, store: RedisSessionStore) -> None:
    await own_redis.kill()
    writing = asyncio.ensure_future(store.write("s", "b", 2))
    await own_redis.restart()
    assert await writing == {"b": 2}


async def test_a_hung_redis_is_given_up_in_time(own_redis: RedisServer, store: RedisSessionStore) -> None:
    own_redis.pause()
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await store.read("s")
    assert BUDGET_S / 2 < elapsed_since(started_at) < BUDGET_S + 0.5
    own_redis.resume()
    assert await store.read("s") == {"a": 1}


async def test_an_increment_whose_reply_was_lost_is_not_applied_twice(
    own_redis: RedisServer, store: RedisSessionStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = store._increment
    attempts = 0

    async def lose_the_first_reply(*arguments: Any) -> Any:
        nonlocal attempts
        attempts += 1
        reply = await script(*arguments)
        if attempts == 1:
            raise ConnectionResetError("the reply was lost")
        return reply

    monkeypatch.setattr(store, "_increment", lose_the_first_reply)
    result = await store.increment("s", "n", 5, None)
    assert attempts == 2
    assert (result.value, result.replayed) == (5, False)
    assert await redis.hget("mcp:session:s", "n") == "5"


async def test_the_status_answers_at_once_whatever_happens(own_redis: RedisServer, store: RedisSessionStore) -> None:
    started_at = asyncio.get_running_loop().time()
    own_redis.pause()
    hung = await store.status()
    await own_redis.kill()
    gone = await store.status()
    assert elapsed_since(started_at) < 1.0
    assert [(status.reachable, status.active_sessions) for status in (hung, gone)] == [(False, None)] * 2
    await own_redis.restart()
    recovered = await store.status()
    assert (recovered.reachable, recovered.active_sessions) == (True, 0)


async def test_after_a_failover_the_old_primary_is_left(
    own_redis: RedisServer, store: RedisSessionStore, redis: Redis
) -> None:
    # A replica of a primary that is not there: read-only, as a demoted node is.
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    writing = asyncio.ensure_future(store.write("s", "b", 2))
    done, _ = await asyncio.wait({writing}, timeout=0.1)
    assert not done  # it tries again
    await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
    assert await writing == {"a": 1, "b": 2}


async def test_a_full_redis_refuses_writes_but_serves_reads(
    own_redis: RedisServer, store: RedisSessionStore, redis: Redis
) -> None:
    await redis.config_set("maxmemory", 1)
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailable, match="did not accept the command"):
        await store.write("s", "b", 2)
    assert elapsed_since(started_at) < BUDGET_S / 2  # trying again would not help
    await redis.config_set("maxmemory", 0)
    assert await store.write("s", "b", 2) == {"a": 1, "b": 2}


async def test_refused_credentials_are_not_tried_again(own_redis: RedisServer) -> None:
    wrong = own_redis.url.replace("redis://:", "redis://:wrong-")
    store = RedisSessionStore(wrong, ttl_s=60, idempotency_ttl_s=60, budget_s=30)
    try:
        with pytest.raises(StoreUnavailable, match="refused this server's credentials"):
            await store.read("s")
        assert (await store.status()).reachable is False
    finally:
        await store.close()


async def test_a_cancelled_call_leaves_the_store_usable(own_redis: RedisServer, store: RedisSessionStore) -> None:
    own_redis.pause()
    calls = [asyncio.ensure_future(store.read("s")) for _ in range(5)]
    await asyncio.wait(calls, timeout=0.05)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    own_redis.resume()
    # No answer meant for a cancelled call is taken for another's.
    assert await store.write("other", "x", 9) == {"x": 9}
    assert await store.read("s") == {"a": 1}
