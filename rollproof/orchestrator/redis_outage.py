"""The fault "Redis restarts", as a run's history tells it: when, for how long, and what it still knew afterwards.

    fault  name "redis-restart", target: which Redis
    mark   name "redis-back", detail: "away for 0.3 s; the 24 keys it held are lost (append-only: no)"

Whether they are is seen by a key of our own: those of sessions are soon made anew.

A Redis of ours is killed and started again. One that somebody else keeps up, as Compose and the project's keeper do
(compose/socket-proxy/keeper.py), is asked to end by SHUTDOWN NOSAVE over its own protocol, and waited for: the
orchestrator reaches it anyway, so that nothing more has to be asked of Docker.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.history import Recorder
from rollproof.orchestrator.redis_server import NOT_ANSWERING, RedisServer

BACK_WITHIN_S = 60.0
_ANSWER_S = 2.0
_LOOK_S = 0.05
_KEYSPACE = re.compile(r"db\d+")  # Redis 8 has db0_distrib_strings_sizes and its like beside it
_MARK, _MARK_S = "rollproof:outage", 600
_OWN = frozenset({"info", "auth", "hello", "select", "config|get", "client|setinfo", "client|setname", "shutdown"})
"""Commands of whoever measures, and of a connection's beginning."""


@dataclass(frozen=True)
class _State:
    """What a Redis says of itself. `life` is another one after each start."""

    life: str
    keys: int
    is_append_only: bool


def need_redis(redis: RedisServer | None) -> RedisServer:
    """Raises UsageError where the stage has none."""
    if redis is None:
        raise UsageError("redis-restart: the stage has no Redis", hint="a strategy that keeps sessions in one")
    return redis


def not_ours(description: str) -> UsageError:
    return UsageError(
        f"redis-restart: this Redis was not started by the rehearsal ({description})",
        hint="leave --redis-url and REDIS_URL out, so that it starts one of its own",
    )


async def restart_redis(
    history: Recorder, redis: RedisServer, do: Callable[[RedisServer], Awaitable[None]] | None = None
) -> None:
    """Do it, and return once it answers again. `do` is how, if it is not ours to kill.

    Raises UsageError for a Redis that is nobody's to restart, Permanent where it does not come back.
    """
    if do is None and not redis.is_owned:
        raise not_ours(redis.description)
    try:
        before = await _state(redis.url)
        await _leave_mark(redis.url)
    except NOT_ANSWERING as error:
        raise Temporary(f"redis-restart: Redis ({redis.description}) does not answer", hint="try again") from error
    history.record("fault", name="redis-restart", target=redis.description)
    began = time.monotonic()
    await (do(redis) if do else redis.restart())
    await _back(redis, before.life)
    away_s = time.monotonic() - began
    fate = "kept" if await _take_mark(redis.url) else "lost"
    append_only = "yes" if before.is_append_only else "no"
    detail = f"away for {away_s:.1f} s; the {before.keys} keys it held are {fate} (append-only: {append_only})"
    history.record("mark", name="redis-back", detail=detail)


async def shut_down(redis: RedisServer, *, host: str) -> None:
    """SHUTDOWN NOSAVE to the Redis of the project, known by its `host`. Raises UsageError for any other one.

    NOSAVE leaves no snapshot; a log of writes (--appendonly yes) is whole nevertheless, and read again at the start.
    """
    if urlsplit(redis.url).hostname != host:
        raise UsageError("redis-restart: REDIS_URL is not the project's own Redis", hint=f"redis://{host}:6379/0")
    with suppress(*NOT_ANSWERING):  # it hangs up instead of answering
        async with _asking(redis.url) as client:
            await client.shutdown(nosave=True)


async def command_counts(url: str) -> dict[str, int]:
    """Calls of each command since Redis started, without those of measuring. Empty where it does not answer."""
    try:
        found = await _info(url, "commandstats")
    except NOT_ANSWERING:
        return {}
    counts = {name.removeprefix("cmdstat_").lower(): int(stats["calls"]) for name, stats in found.items()}
    return {name: calls for name, calls in counts.items() if name not in _OWN}


async def _leave_mark(url: str) -> None:
    async with _asking(url) as client:
        await client.set(_MARK, "1", ex=_MARK_S)


async def _take_mark(url: str) -> bool:
    """Is it still there?"""
    async with _asking(url) as client:
        return bool(await client.delete(_MARK))


async def _back(redis: RedisServer, life: str) -> None:
    """Returns once it answers in another life."""
    give_up_at = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < give_up_at:
        try:
            if (await _state(redis.url)).life != life:
                return
        except NOT_ANSWERING:
            pass
        await asyncio.sleep(_LOOK_S)
    raise Permanent(
        f"redis-restart: Redis ({redis.description}) did not come back within {BACK_WITHIN_S:g} s",
        hint="on the docker stage: docker compose ps -a redis socket-proxy; docker compose logs redis",
    )


async def _state(url: str) -> _State:
    info = await _info(url)
    keys = sum(int(facts["keys"]) for name, facts in info.items() if _KEYSPACE.fullmatch(name))
    return _State(str(info["run_id"]), keys, bool(int(info.get("aof_enabled", 0))))


async def _info(url: str, section: str = "default") -> dict[str, Any]:
    async with _asking(url) as client:
        return dict(await client.info(section))


@asynccontextmanager
async def _asking(url: str) -> AsyncIterator[Redis]:
    """A client that asks once, in bounded time. Raises NOT_ANSWERING; a Redis that is still reading its log answers
    LOADING, which is one of those."""
    async with asyncio.timeout(_ANSWER_S):
        client = Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 0))
        try:
            yield client
        finally:
            await client.aclose()
