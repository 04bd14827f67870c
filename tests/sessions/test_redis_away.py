"""Redis away: what is answered, for how long, and that it heals by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from pair import Answer, Pair, StartReplica

from rollproof.orchestrator.redis_server import RedisServer

pytestmark = pytest.mark.e2e  # waits for what takes time: timeouts, heartbeats, drains

UNAVAILABLE = {
    "code": -32000,
    "message": "the session store cannot be reached now; the session is not lost, try again",
}


LIMITS = {"redis_budget_s": 0.3, "cache_s": 60.0}


@pytest.fixture
async def pair(start_replica: StartReplica, own_redis: RedisServer) -> AsyncIterator[Pair]:
    a, b = [await start_replica(name, own_redis.url, **LIMITS) for name in "ab"]
    pair = Pair(a, b)
    yield pair
    await pair.close()


async def until(status: int, pair: Pair, name: str) -> Answer:
    deadline = time.monotonic() + 10
    while (answer := await pair.call(getattr(pair, name), "whoami")).status != status and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return answer


async def test_a_session_known_here_is_served_and_one_unknown_here_is_told_to_wait(
    pair: Pair, own_redis: RedisServer
) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "whoami")
    await own_redis.stop()
    assert (await pair.call(pair.a, "whoami")).status == 200
    answer = await pair.call(pair.b, "whoami")
    assert (answer.status, answer.error, answer.headers["retry-after"]) == (503, UNAVAILABLE, "1")
    began = time.monotonic()
    assert (await pair.call(pair.b, "whoami")).status == 503
    assert time.monotonic() - began < 1.0


async def test_a_session_that_could_not_be_ended_goes_on(pair: Pair, own_redis: RedisServer) -> None:
    await pair.open(pair.a)
    own_redis.pause()
    try:
        assert (await pair.delete(pair.a)).status == 503
    finally:
        own_redis.resume()
    assert (await until(200, pair, "a")).status == 200
    assert (await until(200, pair, "b")).status == 200


async def test_no_session_is_opened_that_could_not_be_recorded(pair: Pair, own_redis: RedisServer) -> None:
    await pair.open(pair.a)
    await own_redis.stop()
    with pytest.raises(AssertionError, match="503"):
        await pair.open(pair.a)


async def test_an_unknown_id_is_refused_without_redis(pair: Pair, own_redis: RedisServer) -> None:
    await pair.open(pair.a)
    await own_redis.stop()
    assert (await pair.send(pair.b, pair.tool("whoami"), session="guessed")).status == 404


async def test_it_heals_when_redis_returns(pair: Pair, own_redis: RedisServer) -> None:
    """With its data: the server is stopped in the way of an outage, not of a loss."""
    await pair.open(pair.a)
    await pair.call(pair.a, "remember", key="k", value="v")
    own_redis.pause()
    try:
        assert (await until(503, pair, "b")).status == 503
    finally:
        own_redis.resume()
    assert (await until(200, pair, "b")).status == 200
    assert (await pair.call(pair.b, "recall", key="k")).text == "v"
    async with pair.stream(pair.a, pair.tool("ask", question="?")) as stream:
        request = await stream.next()
        assert request is not None
        await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "result": {"action": "decline"}})
        assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "a: decline"


async def test_a_server_starts_without_redis_and_serves_once_it_is_there(
    start_replica: StartReplica, own_redis: RedisServer
) -> None:
    own_redis.pause()
    try:
        a = await start_replica("a", own_redis.url, redis_budget_s=0.3)
        pair = Pair(a, a)
        with pytest.raises(AssertionError, match="503"):
            await pair.open(a)
    finally:
        own_redis.resume()
    for _ in range(50):
        try:
            await pair.open(a)
            break
        except AssertionError:
            await asyncio.sleep(0.1)
    assert (await pair.call(a, "whoami")).status == 200
    await pair.close()
