"""This replica's line to Redis, and through it to the other replicas.

Three connections carry everything: commands, one blocking XREAD, and what is written behind.

    commands      what a request has to know before it is answered; within a budget, else StoreUnavailable
    bus, inbox    Redis streams read by one XREAD: to all replicas, and to this one. A reader that was away goes on
                  where it stopped, so nothing is lost as with PUBLISH
    write-behind  events of streams, times to live, wake-ups: in order, many in one round trip, kept while Redis is away
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rollproof.sessions.options import LEAST_SECRET_BYTES, Options, SessionsError

T = TypeVar("T")
Message = Mapping[str, Any]

logger = logging.getLogger("rollproof.sessions")

_AWAY = (redis_errors.RedisError, OSError, TimeoutError)
_BLOCK_S = 2.0
_RETRY_S = 0.5
_REGISTERS_EVERY = 10  # beats, in case something else than this replica's heartbeat was evicted
_BATCH = 500
_BATCH_WITHIN_S = 5.0
_QUEUED_AT_MOST = 20_000  # commands; while Redis is away the oldest are dropped, and with them only what can be resumed
_STREAM_LENGTH = 10_000  # of the bus, and of each inbox
_INBOX_TTL_S = 60
_CONNECTIONS = 20
_CONNECTION_WITHIN_S = 5.0

_TO_A_LIVING_ONE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""


_LIVING = """
local living = {}
for _, replica in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. replica) == 1 then living[#living + 1] = replica
  else redis.call('SREM', KEYS[1], replica) end
end
return living
"""


class StoreUnavailable(Exception):
    """Redis did not answer within its budget."""


class Link:
    """`on_message` gets what others send, `on_gap` is told when something may have been missed."""

    def __init__(self, url: str, options: Options, replica: str) -> None:
        self._options = options
        self.replica = replica
        self._redis = create_client(url)
        self._reader = create_client(url, socket_timeout=_BLOCK_S + 3.0)
        self._tell = self._redis.register_script(_TO_A_LIVING_ONE)
        self._queue: deque[tuple[Any, ...]] = deque()
        self._queued = asyncio.Event()
        self._drained = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed_at = float("-inf")
        self._beats = 0
        self.secret = options.secret
        self.on_message: Callable[[Message], None] = _ignore
        self.on_gap: Callable[[], None] = lambda: None
        self.on_secret: Callable[[bytes], None] = lambda _secret: None

    def key(self, kind: str, *parts: str) -> str:
        """The braces keep all keys of a server in one slot of a cluster."""
        return ":".join((f"{{{self._options.namespace}}}", kind, *parts))

    async def start(self) -> None:
        """Begin; Redis need not be there yet."""
        if self.secret is not None:
            self.on_secret(self.secret)
        with contextlib.suppress(StoreUnavailable):
            await self.ask(self._beat)
        self._tasks = [asyncio.create_task(work()) for work in (self._write_behind, self._listen, self._live)]

    async def stop(self, within_s: float = 2.0) -> None:
        """Write what is queued, and tell the others that this replica is gone."""
        self._drained.clear()  # set again once nothing is queued nor on its way
        self._queued.set()
        written = asyncio.create_task(self._drained.wait())
        await asyncio.wait({written, *self._tasks}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        written.cancel()
        await end_tasks(*self._tasks)
        with contextlib.suppress(StoreUnavailable):
            await self.command("SREM", self.key("replicas"), self.replica)
            await self.command("DEL", self._alive(self.replica), self.key("inbox", self.replica))
        for client in (self._redis, self._reader):
            await client.aclose(close_connection_pool=True)

    async def ask(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Carry out `operation` within the budget. Raises StoreUnavailable; at once, while Redis has just failed."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._failed_at < _RETRY_S:
            raise StoreUnavailable
        try:
            async with asyncio.timeout(self._options.redis_budget_s):
                return await operation()
        except _AWAY as error:
            self._failed_at = loop.time()
            logger.warning("redis did not answer: %s", type(error).__name__)
            raise StoreUnavailable from error

    async def command(self, *command: Any) -> Any:
        """One command. Raises StoreUnavailable."""
        execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        return await self.ask(lambda: execute(*command))

    def write(self, *commands: tuple[Any, ...]) -> None:
        """Have `commands` carried out soon, in this order."""
        self._queue.extend(commands)
        while len(self._queue) > _QUEUED_AT_MOST:
            self._queue.popleft()
        self._queued.set()

    def tell_all(self, message: Message) -> None:
        """To every replica, this one included."""
        self.write(_add(self.key("bus"), message))

    async def tell(self, replica: str, message: Message) -> bool:
        """To one replica; False if it is gone. Raises StoreUnavailable."""
        keys = [self._alive(replica), self.key("inbox", replica)]
        arguments: list[str | int] = [json.dumps(message), _STREAM_LENGTH, _INBOX_TTL_S]
        return bool(await self.ask(lambda: self._tell(keys, arguments)))

    def post(self, replica: str, message: Message) -> None:
        """To one replica that is known to be there, behind everything written before."""
        inbox = self.key("inbox", replica)
        self.write(_add(inbox, message), ("EXPIRE", inbox, _INBOX_TTL_S))

    async def others(self) -> set[str]:
        """The other replicas that have had a heartbeat lately. Raises StoreUnavailable."""
        living = await self.command("EVAL", _LIVING, 1, self.key("replicas"), self._alive(""))
        return set(living) - {self.replica}

    async def is_alive(self, replica: str) -> bool:
        """Whether it has had a heartbeat lately. Raises StoreUnavailable."""
        return replica == self.replica or bool(await self.command("EXISTS", self._alive(replica)))

    def _alive(self, replica: str) -> str:
        return self.key("alive", replica)

    async def _beat(self) -> None:
        """One command, which also says whether this replica is still known; the rest only where it is not.

        A Redis that has forgotten this replica has forgotten the others and the secret as well.
        """
        lasts_ms = int(self._options.dead_after_s * 1000)
        execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        known = await execute("SET", self._alive(self.replica), 1, "PX", lasts_ms, "GET")
        self._beats += 1
        if known is None or self._beats % _REGISTERS_EVERY == 0:
            await self._register()

    async def _register(self) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.sadd(self.key("replicas"), self.replica)
        if self._options.secret is None:
            mine = (self.secret or secrets.token_bytes(LEAST_SECRET_BYTES)).hex()
            pipe.set(self.key("secret"), mine, nx=True)  # a Redis that forgot it gets it back
            pipe.get(self.key("secret"))
        replies = await pipe.execute()
        if self._options.secret is None and bytes.fromhex(replies[-1]) != self.secret:
            self.secret = bytes.fromhex(replies[-1])
            self.on_secret(self.secret)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._options.heartbeat_s)
            with contextlib.suppress(StoreUnavailable):
                await self.ask(self._beat)

    async def _write_behind(self) -> None:
        while True:
            await self._queued.wait()
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            if not batch:
                self._queued.clear()
                self._drained.set()
                continue
            pipe = self._redis.pipeline(transaction=False)
            for command in batch:
                pipe.execute_command(*command)
            try:
                async with asyncio.timeout(_BATCH_WITHIN_S):
                    await pipe.execute(raise_on_error=False)
            except _AWAY:
                # Carried out or not: repeated, for an event keeps its number and is not added twice.
                self._queue.extendleft(reversed(batch))
                await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        bus, inbox = self.key("bus"), self.key("inbox", self.replica)
        position: dict[Any, Any] = {inbox: "0-0"}
        while True:
            try:
                if bus not in position:
                    last: Any = await self._reader.xrevrange(bus, count=1)
                    position[bus] = last[0][0] if last else "0-0"
                    self.on_gap()
                streams: Any = await self._reader.xread(position, block=int(_BLOCK_S * 1000))
                for stream, entries in streams or ():
                    for entry, fields in entries:
                        position[stream] = entry
                        self._take(fields)
            except _AWAY as error:
                logger.warning("redis is away: %s", type(error).__name__)
                self.on_gap()
                await asyncio.sleep(_RETRY_S)

    def _take(self, fields: Mapping[str, str]) -> None:
        try:
            self.on_message(json.loads(fields["m"]))
        except Exception:
            logger.exception("a message of another replica could not be used")


def _add(stream: str, message: Message) -> tuple[Any, ...]:
    return ("XADD", stream, "MAXLEN", "~", _STREAM_LENGTH, "*", "m", json.dumps(message))


def create_client(url: str, *, socket_timeout: float | None = None) -> Redis:
    """A client that has not connected yet. Raises SessionsError for a URL that it cannot use.

    Its own timeouts are asyncio.wait_for, in which Python 3.11 loses cancellations; so they are set from outside.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            protocol=2,
            max_connections=_CONNECTIONS,
            timeout=_CONNECTION_WITHIN_S,  # a burst of requests waits for one another's connections
            socket_connect_timeout=1.0,
            socket_timeout=socket_timeout,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),  # what is repeated is decided here
        )
        pool.connection_class(**pool.connection_kwargs)  # built, not connected: an unknown option shows now
    except (TypeError, ValueError, redis_errors.RedisError) as error:
        raise SessionsError(f"the Redis URL cannot be used: {error}") from error
    return Redis(connection_pool=pool)


async def end_tasks(*tasks: asyncio.Task[None]) -> None:
    """Cancel them until they have ended: a cancellation that meets the end of a Redis command can be lost in it."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


def _ignore(_message: Message) -> None:
    pass
