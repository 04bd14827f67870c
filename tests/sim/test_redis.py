"""One Redis for all tasks, in virtual time, through any asyncio client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from rollproof.sim.redis import SimRedis
from tests.sim.conftest import Play


async def started() -> SimRedis:
    server = SimRedis(asyncio.get_running_loop().network)  # type: ignore[attr-defined]
    await server.start()
    return server


def client(server: SimRedis, **options: Any) -> Redis:
    return Redis.from_url(
        server.url, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=None, **options
    )


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_one_client_writes_another_reads(protocol: int, play: Play) -> None:
    async def main() -> tuple[Any, ...]:
        server = await started()
        async with client(server, protocol=protocol) as one, client(server, protocol=protocol) as other:
            await one.set("text", "a\r\nb")
            await one.hset("hash", mapping={"f": "1", "g": "2"})
            await one.zadd("scores", {"x": 1.5})
            script = other.register_script("return {KEYS[1], redis.call('GET', KEYS[1])}")
            return (
                await other.get("text"),
                await other.hgetall("hash"),
                await other.zscore("scores", "x"),
                await script(keys=["text"]),
                await other.get("nothing"),
            )

    assert play(main()) == ("a\r\nb", {"f": "1", "g": "2"}, 1.5, ["text", "a\r\nb"], None)


def test_a_time_to_live_passes_in_virtual_time(play: Play) -> None:
    async def main() -> list[Any]:
        async with client(await started()) as redis:
            await redis.set("session", "state", ex=1800)
            found = [await redis.get("session")]
            await asyncio.sleep(1799)
            found.append(await redis.get("session"))
            await asyncio.sleep(2)
            return [*found, await redis.get("session")]

    assert play(main()) == ["state", "state", None]


def test_who_blocks_is_woken_by_another_and_gives_up_after_its_timeout(play: Play) -> None:
    async def main() -> tuple[Any, Any, float]:
        server, loop = await started(), asyncio.get_running_loop()
        async with client(server) as one, client(server) as other:
            waiting = asyncio.create_task(one.xread({"events": "$"}, block=60_000))
            await asyncio.sleep(10)
            await other.xadd("events", {"what": "news"}, id="1-1")
            woken = await waiting
            began = loop.time()
            return woken, await one.xread({"events": "$"}, block=5_000), loop.time() - began

    woken, nothing, after_s = play(main())
    assert woken in ([["events", [("1-1", {"what": "news"})]]], {"events": [[("1-1", {"what": "news"})]]})
    assert not nothing
    assert after_s == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("protocol", [2, 3])
def test_who_subscribes_hears_what_is_published(protocol: int, play: Play) -> None:
    async def main() -> Any:
        server = await started()
        one, other = client(server, protocol=protocol), client(server, protocol=protocol)
        async with one, other, one.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe("channel")
            await asyncio.sleep(1)
            await other.publish("channel", "hello")
            async with asyncio.timeout(5):
                return (await anext(subscription.listen()))["data"]

    assert play(main()) == "hello"


def test_gone_it_refuses_and_back_it_has_what_it_kept(play: Play) -> None:
    async def main() -> tuple[Any, Any]:
        server = await started()
        async with client(server) as redis:
            await redis.set("key", "value")
            server.stop()
            with pytest.raises(RedisConnectionError):
                await redis.get("key")
            await server.start()
            kept = await redis.get("key")
            server.flush()
            server.stop()
            await server.start()
            with pytest.raises(RedisConnectionError):  # its connection is gone once more
                await redis.get("key")
            return kept, await redis.get("key")

    assert play(main()) == ("value", None)


def test_slow_it_answers_late(play: Play) -> None:
    async def main() -> float:
        server, loop = await started(), asyncio.get_running_loop()
        async with client(server) as redis:
            await redis.ping()
            server.delay_s = 0.5
            began = loop.time()
            await redis.ping()
            return loop.time() - began

    assert play(main()) == pytest.approx(0.5, abs=0.01)


def test_commands_are_counted(play: Play) -> None:
    async def main() -> dict[str, int]:
        server = await started()
        async with client(server) as redis:
            await redis.set("a", 1)
            await redis.get("a")
            await redis.get("a")
        return dict(server.commands)

    counted = play(main())
    assert (counted["set"], counted["get"]) == (1, 2)
