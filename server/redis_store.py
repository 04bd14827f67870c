"""Sessions in Redis, shared by every task of the service.

While Redis is away a call waits at most `budget_s`, then says so; it works again by itself when Redis does.
Retrying is safe: a reply can be lost after its command was carried out, so every increment carries a token,
and a token counts once. It is the client's idempotency key, or one made here for the one call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from server import redis_scripts
from server.logs import log_event
from server.session_store import (
    MAX_VALUES,
    Increment,
    Scalar,
    State,
    StateRefused,
    StoreStatus,
    StoreUnavailable,
    UnknownSession,
)
from server.settings import SettingsError, redact

T = TypeVar("T")

CALL_BUDGET_S = 2.0  # for one operation, retries included
STATUS_BUDGET_S = 0.2  # /health must answer well inside the shortest health check timeout
SOCKET_TIMEOUT_S = 1.0
FIRST_DELAY_S, LAST_DELAY_S = 0.05, 0.4
MAX_CONNECTIONS = 50  # a task; further calls queue, within their budget
OWN_TOKEN_TTL_S = 60  # outlives every retry of the call it was made for

SESSION_KEY = "mcp:session:{session_id}"
CALL_KEY = "mcp:call:{session_id}:{key}"
INDEX_KEY = "mcp:sessions"

REFUSED_CREDENTIALS = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.NoPermissionError,
)
MAY_PASS = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    OSError,
    TimeoutError,
)


class RedisSessionStore:
    """See `server.redis_scripts` for the keys. Raises SettingsError for a URL with unknown options."""

    name = "redis"

    def __init__(self, url: str, *, ttl_s: int, idempotency_ttl_s: int, budget_s: float = CALL_BUDGET_S) -> None:
        self._ttl_s, self._idempotency_ttl_s, self._budget_s = ttl_s, idempotency_ttl_s, budget_s
        self._pool = _create_pool(url, budget_s)
        self._redis: Redis = Redis(connection_pool=self._pool)
        self._create = self._redis.register_script(redis_scripts.CREATE)
        self._write = self._redis.register_script(redis_scripts.WRITE)
        self._read = self._redis.register_script(redis_scripts.READ)
        self._increment = self._redis.register_script(redis_scripts.INCREMENT)
        self._end = self._redis.register_script(redis_scripts.END)
        self._count = self._redis.register_script(redis_scripts.COUNT)
        self._is_reachable = True

    async def create(self, session_id: str) -> None:
        keys = [SESSION_KEY.format(session_id=session_id), INDEX_KEY]
        arguments = self._opening(session_id, must_exist=False)
        await self._call(lambda: self._create(keys, arguments))

    async def write(self, session_id: str, key: str, value: Scalar, *, must_exist: bool = False) -> State:
        keys = [SESSION_KEY.format(session_id=session_id), INDEX_KEY]
        arguments = [*self._opening(session_id, must_exist), key, json.dumps(value, allow_nan=False), MAX_VALUES]
        reply = await self._call(lambda: self._write(keys, arguments))
        if reply[0] == "unknown":
            raise UnknownSession
        if reply[0] == "full":
            raise StateRefused.full()
        return _state(reply[1])

    async def read(self, session_id: str) -> State | None:
        keys = [SESSION_KEY.format(session_id=session_id), INDEX_KEY]
        reply = await self._call(lambda: self._read(keys, [self._ttl_s, session_id]))
        return None if reply[0] == "unknown" else _state(reply[1])

    async def increment(
        self, session_id: str, name: str, by: int, idempotency_key: str | None, *, must_exist: bool = False
    ) -> Increment:
        # The prefixes keep a client's key from ever being one of ours.
        token = f"own:{uuid.uuid4()}" if idempotency_key is None else f"client:{idempotency_key}"
        token_ttl_s = OWN_TOKEN_TTL_S if idempotency_key is None else self._idempotency_ttl_s
        keys = [
            SESSION_KEY.format(session_id=session_id),
            INDEX_KEY,
            CALL_KEY.format(session_id=session_id, key=token),
        ]
        arguments = [*self._opening(session_id, must_exist), name, by, MAX_VALUES, token_ttl_s]
        outcome, *rest = await self._call(lambda: self._increment(keys, arguments))
        match outcome:
            case "ok":
                value, replayed, state = rest
                # With a token of our own, "replayed" only says that a retry found its first attempt done.
                return Increment(int(value), bool(replayed) and idempotency_key is not None, _state(state))
            case "unknown":
                raise UnknownSession
            case "full":
                raise StateRefused.full()
            case "overflow":
                raise StateRefused.overflow(name)
            case "key_reused":
                raise StateRefused.key_reused(str(idempotency_key))
            case _:
                raise StateRefused.not_a_counter(name)

    async def end(self, session_id: str) -> bool:
        keys = [SESSION_KEY.format(session_id=session_id), INDEX_KEY]
        attempts = 0

        async def end() -> bool:
            nonlocal attempts
            attempts += 1
            return bool(await self._end(keys, [session_id]))

        # On a later attempt there may be no session because of an earlier one, whose reply was lost.
        return await self._call(end) or attempts > 1

    async def status(self) -> StoreStatus:
        try:
            async with asyncio.timeout(STATUS_BUDGET_S):
                return StoreStatus(reachable=True, active_sessions=int(await self._count([INDEX_KEY])))
        except (redis_errors.RedisError, OSError, TimeoutError):
            return StoreStatus(reachable=False, active_sessions=None)

    async def close(self) -> None:
        await self._redis.aclose()
        await self._pool.disconnect()

    def _opening(self, session_id: str, must_exist: bool) -> list[str | int]:
        """The arguments that all scripts begin with which may create a session."""
        return [self._ttl_s, session_id, "must exist" if must_exist else "", secrets.token_hex(6)]

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Carry out `operation`, again while it fails for a reason that may pass. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._budget_s
        delay_s = FIRST_DELAY_S
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    result = await operation()
            except REFUSED_CREDENTIALS as error:
                raise self._unavailable("it refused this server's credentials", error) from error
            except MAY_PASS as error:
                if isinstance(error, redis_errors.ReadOnlyError):
                    # A failover: this node is a replica now, the endpoint's name leads to another.
                    await self._pool.disconnect(inuse_connections=False)
                if loop.time() + delay_s >= deadline:
                    raise self._unavailable("it did not answer", error) from error
            except redis_errors.RedisError as error:
                raise self._unavailable("it did not accept the command", error) from error
            else:
                self._note_reachable()
                return result
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, LAST_DELAY_S)

    def _unavailable(self, reason: str, error: Exception) -> StoreUnavailable:
        if self._is_reachable:  # one line when it begins, not one a call
            self._is_reachable = False
            log_event("session_store_unavailable", level=logging.ERROR, error=f"{type(error).__name__}: {error}")
        return StoreUnavailable(f"{reason} ({type(error).__name__})")

    def _note_reachable(self) -> None:
        if not self._is_reachable:
            self._is_reachable = True
            log_event("session_store_recovered", level=logging.WARNING)


def _create_pool(url: str, budget_s: float) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=budget_s,
            decode_responses=True,
            protocol=2,  # nothing here needs RESP3, and every Redis speaks 2 without a HELLO
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),  # retries are decided in `_call`
        )
        pool.connection_class(**pool.connection_kwargs)  # built, not connected: an unknown option shows here
    except (TypeError, ValueError, redis_errors.RedisError) as error:
        raise SettingsError([f"REDIS_URL={redact(url)} is not allowed: {error}"]) from error
    return pool


def _state(flat: list[Any]) -> State:
    """HGETALL's name, value, name, value, ... with the values decoded; without the field that has no name."""
    return {name: json.loads(value) for name, value in zip(flat[::2], flat[1::2], strict=True) if name}
