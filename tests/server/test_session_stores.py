"""What both stores promise, and what only one of them can: the memory store's clock, Redis's sharing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from rollproof.orchestrator.redis_server import RedisServer
from server import memory_store, redis_store
from server.memory_store import InMemorySessionStore
from server.redis_store import RedisSessionStore
from server.session_store import COUNTER_MAX, Increment, Scalar, SessionStore, StateRefused, UnknownSession


async def test_a_session_never_seen_is_none(store: SessionStore, session_id: str) -> None:
    assert await store.read(session_id) is None


async def test_the_first_write_creates_the_session_and_later_ones_add_to_it(
    store: SessionStore, session_id: str
) -> None:
    assert await store.write(session_id, "seq_1", "call_1") == {"seq_1": "call_1"}
    assert await store.write(session_id, "seq_2", "call_2") == {"seq_1": "call_1", "seq_2": "call_2"}
    assert await store.write(session_id, "seq_1", "again") == {"seq_1": "again", "seq_2": "call_2"}
    assert await store.read(session_id) == {"seq_1": "again", "seq_2": "call_2"}


@pytest.mark.parametrize("value", ["", "x", '"', "é\n", "12", 12, -1, 2**70, 1.5, 3.0, True, False])
async def test_a_value_comes_back_as_what_it_was(value: Scalar, store: SessionStore, session_id: str) -> None:
    await store.write(session_id, "a b:{c}", value)
    state = await store.read(session_id)
    assert state is not None
    assert (state["a b:{c}"], type(state["a b:{c}"])) == (value, type(value))


async def test_sessions_do_not_see_each_other(store: SessionStore, session_id: str) -> None:
    await store.write(session_id, "a", 1)
    assert await store.read(f"{session_id}:a") is None
    assert await store.read(session_id[:-1]) is None


async def test_a_created_session_holds_nothing_and_creating_it_again_forgets_nothing(
    store: SessionStore, session_id: str
) -> None:
    await store.create(session_id)
    assert await store.read(session_id) == {}
    await store.write(session_id, "a", 1, must_exist=True)
    await store.create(session_id)
    assert await store.read(session_id) == {"a": 1}


async def test_what_must_exist_is_not_created(store: SessionStore, session_id: str) -> None:
    with pytest.raises(UnknownSession):
        await store.write(session_id, "a", 1, must_exist=True)
    with pytest.raises(UnknownSession):
        await store.increment(session_id, "a", 1, None, must_exist=True)
    assert await store.read(session_id) is None


async def test_an_ended_session_is_as_if_it_had_never_been(store: SessionStore, session_id: str) -> None:
    await store.increment(session_id, "n", 5, "k")
    active = (await store.status()).active_sessions or 0
    assert await store.end(session_id) is True
    assert await store.end(session_id) is False
    assert (await store.status()).active_sessions == active - 1
    assert await store.read(session_id) is None
    with pytest.raises(UnknownSession):
        await store.increment(session_id, "n", 5, "k", must_exist=True)
    # Nor does what it recorded answer for a session that begins under the same id.
    assert await store.increment(session_id, "n", 7, "k") == Increment(7, replayed=False, state={"n": 7})


async def test_concurrent_increments_of_a_created_session_all_count(store: SessionStore, session_id: str) -> None:
    await store.create(session_id)
    counted = await asyncio.gather(*(store.increment(session_id, "n", 1, None, must_exist=True) for _ in range(50)))
    assert sorted(each.value for each in counted) == list(range(1, 51))


async def test_an_increment_starts_from_nothing_and_adds_each_time(store: SessionStore, session_id: str) -> None:
    assert await store.increment(session_id, "n", 1, None) == Increment(1, replayed=False, state={"n": 1})
    assert await store.increment(session_id, "n", 41, None) == Increment(42, replayed=False, state={"n": 42})
    assert await store.increment(session_id, "n", -50, None) == Increment(-8, replayed=False, state={"n": -8})


async def test_a_repeated_idempotency_key_returns_the_first_result(store: SessionStore, session_id: str) -> None:
    await store.increment(session_id, "n", 5, "k1")
    await store.increment(session_id, "n", 1, None)
    replay = await store.increment(session_id, "n", 5, "k1")
    assert replay == Increment(5, replayed=True, state={"n": 6})
    assert (await store.increment(session_id, "n", 5, "k2")).value == 11


async def test_an_idempotency_key_belongs_to_its_session(store: SessionStore, session_id: str) -> None:
    await store.increment(session_id, "n", 1, "k")
    assert (await store.increment(f"{session_id}-other", "n", 1, "k")).replayed is False


@pytest.mark.parametrize(("name", "by"), [("n", 2), ("m", 1)])
async def test_an_idempotency_key_with_other_arguments_is_refused(
    name: str, by: int, store: SessionStore, session_id: str
) -> None:
    await store.increment(session_id, "n", 1, "k")
    with pytest.raises(StateRefused, match="'k' was already used"):
        await store.increment(session_id, name, by, "k")
    assert await store.read(session_id) == {"n": 1}


@pytest.mark.parametrize("value", ["1", "", 1.0, True, 2**63, -(2**70)])
async def test_what_is_no_counter_cannot_be_incremented(value: Scalar, store: SessionStore, session_id: str) -> None:
    await store.write(session_id, "n", value)
    with pytest.raises(StateRefused, match="'n' holds a value that is not a whole number of 64 bits"):
        await store.increment(session_id, "n", 1, "k")
    assert await store.read(session_id) == {"n": value}


async def test_a_counter_does_not_overflow_nor_lose_digits(store: SessionStore, session_id: str) -> None:
    await store.write(session_id, "n", COUNTER_MAX - 1)
    assert (await store.increment(session_id, "n", 1, "k")).value == COUNTER_MAX
    assert (await store.increment(session_id, "n", 1, "k")).value == COUNTER_MAX
    with pytest.raises(StateRefused, match="64-bit"):
        await store.increment(session_id, "n", 1, None)
    assert await store.read(session_id) == {"n": COUNTER_MAX}


async def test_a_refused_increment_creates_no_session(
    store: SessionStore, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_store, "COUNTER_MAX", 0)
    monkeypatch.setattr(redis_store, "MAX_VALUES", 0)
    with pytest.raises(StateRefused):
        await store.increment(session_id, "n", 1, None)
    assert await store.read(session_id) is None


async def test_a_session_holds_a_bounded_number_of_values(
    store: SessionStore, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_store, redis_store):
        monkeypatch.setattr(module, "MAX_VALUES", 2)
    await store.write(session_id, "a", 1)
    await store.increment(session_id, "b", 1, None)
    with pytest.raises(StateRefused, match="at most"):
        await store.write(session_id, "c", 1)
    with pytest.raises(StateRefused, match="at most"):
        await store.increment(session_id, "c", 1, "k")
    assert await store.write(session_id, "a", 2) == {"a": 2, "b": 1}
    assert (await store.increment(session_id, "b", 1, None)).value == 2


async def test_concurrent_increments_all_count(store: SessionStore, session_id: str) -> None:
    results = await asyncio.gather(*(store.increment(session_id, "n", 1, None) for _ in range(100)))
    assert sorted(result.value for result in results) == list(range(1, 101))


async def test_of_concurrent_calls_with_one_key_one_counts(store: SessionStore, session_id: str) -> None:
    results = await asyncio.gather(*(store.increment(session_id, "n", 1, "k") for _ in range(100)))
    assert {result.value for result in results} == {1}
    assert sum(not result.replayed for result in results) == 1


async def test_the_status_counts_live_sessions(store: SessionStore, session_id: str) -> None:
    before = (await store.status()).active_sessions
    assert before is not None
    await store.write(session_id, "a", 1)
    await store.increment(session_id, "n", 1, "k")
    await store.increment(f"{session_id}-2", "n", 1, None)
    status = await store.status()
    assert (status.reachable, status.active_sessions) == (True, before + 2)


# --- memory: expiry by a clock of our own ---------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_in_memory_a_session_expires_unless_it_is_used() -> None:
    clock = Clock()
    store = InMemorySessionStore(ttl_s=10, idempotency_ttl_s=10, now=clock)
    await store.write("used", "a", 1)
    await store.write("unused", "a", 1)
    clock.now += 9
    assert await store.read("used") == {"a": 1}
    clock.now += 1
    assert (await store.status()).active_sessions == 1
    assert await store.read("unused") is None
    clock.now += 8.9
    assert await store.increment("used", "a", 1, None) == Increment(2, replayed=False, state={"a": 2})
    clock.now += 10
    assert await store.read("used") is None
    assert (await store.status()).active_sessions == 0


async def test_in_memory_a_recorded_call_is_forgotten_in_time() -> None:
    clock = Clock()
    store = InMemorySessionStore(ttl_s=100, idempotency_ttl_s=10, now=clock)
    await store.increment("s", "n", 1, "k")
    clock.now += 9.9
    assert (await store.increment("s", "n", 1, "k")).replayed is True
    clock.now += 0.1
    assert await store.increment("s", "n", 1, "k") == Increment(2, replayed=False, state={"n": 2})


# --- Redis: keys, expiry, sharing ---------------------------------------------------------------------


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


async def test_in_redis_every_key_expires_and_every_use_renews(
    redis: Redis, redis_store: RedisSessionStore, session_id: str
) -> None:
    await redis_store.increment(session_id, "n", 1, "k")
    await redis_store.increment(session_id, "n", 1, None)
    keys = [f"mcp:session:{session_id}", "mcp:sessions", *await redis.keys(f"mcp:call:{session_id}:*")]
    assert len(keys) == 4
    for key in keys:
        assert 0 < await redis.ttl(key) <= 60
    await redis.expire(keys[0], 5)
    await redis_store.read(session_id)
    assert await redis.ttl(keys[0]) > 5


async def test_in_redis_the_index_forgets_expired_sessions(
    redis: Redis, redis_store: RedisSessionStore, session_id: str
) -> None:
    before = (await redis_store.status()).active_sessions
    await redis.zadd("mcp:sessions", {f"{session_id}-{n}": 1.0 + n for n in range(150)})
    assert (await redis_store.status()).active_sessions == before
    size = await redis.zcard("mcp:sessions")
    await redis_store.write(session_id, "a", 1)
    assert await redis.zcard("mcp:sessions") == size - 100 + 1  # bounded work: the rest at the next use
    await redis_store.read(session_id)
    assert await redis.zcard("mcp:sessions") == size - 150 + 1


async def test_two_tasks_share_a_session(
    redis_server: RedisServer, redis_store: RedisSessionStore, session_id: str
) -> None:
    other = RedisSessionStore(redis_server.url, ttl_s=60, idempotency_ttl_s=60)
    try:
        await redis_store.write(session_id, "a", "written by one")
        assert await other.read(session_id) == {"a": "written by one"}
        await other.increment(session_id, "n", 1, "k")
        assert (await redis_store.increment(session_id, "n", 1, "k")).replayed is True
    finally:
        await other.close()
