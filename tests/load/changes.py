"""Target changes under load: does every request obey, and how soon after a change does the first one?

24 targets; at any time two are allowed. Clients with cookie jars ask without pause on connections they keep, while
table follows table: the next one is published as soon as a target of the last has answered. Each answer is checked
against the tables that were in force between its request and itself, the one on its way included.

    changed_s     publish called -> a newly allowed target has answered a client
    obeyed_s      publish returned -> the same; negative: before it returned
    outdated_s    publish returned -> the last answer of a target no longer allowed, where there was one: to a request
                  that was sent before that return, or else it is `misrouted`

All as a client sees it: an answer's own way through balancer, target and client is in these figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.ports import Balancer

NAMES = "abcdefghijklmnopqrstuvwx"
USERS = 16
DEADLINE_S = 10.0
"""For a change to be obeyed, and for the last answers to come: reached only by a failing run."""


@dataclass
class Outcome:
    requests: int = 0
    failed: int = 0
    misrouted: int = 0
    took_s: float = 0.0
    widest: int = 0  # targets that were allowed at some time during one request, at most
    publish_s: list[float] = field(default_factory=list)
    changed_s: list[float] = field(default_factory=list)
    obeyed_s: list[float] = field(default_factory=list)
    outdated_s: list[float] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return len(self.publish_s)


def spread_ms(seconds: Sequence[float]) -> str:
    """p50 / p99 / max."""
    if not seconds:
        return "-"
    ordered = sorted(seconds)
    picked = (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])
    return " / ".join(f"{value * 1e3:.1f}" for value in picked)


# --- targets --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def many_targets() -> AsyncIterator[dict[str, str]]:
    """Addresses by name."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda n=n: _Target(n), "127.0.0.1", 0) for n in NAMES]  # type: ignore[misc]
    try:
        yield {n: f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for n, s in zip(NAMES, servers, strict=True)}
    finally:
        for server in servers:
            server.close()


class _Target(asyncio.Protocol):
    """Answers every request with its name."""

    def __init__(self, name: str) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self._transport.write(self._answer)


# --- the run --------------------------------------------------------------------------------------------------


async def change_targets(
    balancer: Balancer, port: int, addresses: dict[str, str], *, changes: int, requests: int
) -> Outcome:
    """Until there were as many changes and as many requests. Raises TimeoutError where a change is never obeyed."""
    run = _Run(balancer, addresses)
    await run.publish()
    started = time.perf_counter()
    users = [asyncio.create_task(_user(run, port)) for _ in range(USERS)]
    try:
        while run.outcome.changes < changes or run.outcome.requests < requests:
            await run.change()
        run.is_over = True
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*users)
    finally:
        for user in users:
            user.cancel()
    return run.finish(time.perf_counter() - started)


class _Run:
    """What was allowed when, and what came."""

    def __init__(self, balancer: Balancer, addresses: dict[str, str]) -> None:
        self.outcome, self.is_over = Outcome(), False
        self.in_force = 0  # the last generation whose publish has returned
        self._balancer, self._addresses = balancer, addresses
        self._allowed = [""]  # by generation, as are:
        self._returned_at, self._last_old_at = [0.0], [0.0]
        self._left: dict[str, int] = {}  # the generation that allowed a target no longer
        self._first_new_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def publish(self) -> None:
        generation = len(self._allowed)
        at = generation * 2 % len(NAMES)
        pair = NAMES[at : at + 2]
        row = tuple(RoutableTarget(f"id-{n}", self._addresses[n], "healthy", new=True, sticky=True) for n in pair)
        nodes = (NodeTable("node-0", row), NodeTable("node-1", row))
        self._left |= dict.fromkeys(self._allowed[-1], generation)
        for name in pair:
            self._left.pop(name, None)
        self._allowed.append(pair)
        self._last_old_at.append(0.0)
        await self._balancer.publish(RoutingTable(generation, nodes, stickiness=Stickiness(enabled=True)))
        self.in_force = generation
        self._returned_at.append(time.perf_counter())

    async def change(self) -> None:
        """One table, and what came of it."""
        self._first_new_at = asyncio.get_running_loop().create_future()
        called_at = time.perf_counter()
        await self.publish()
        returned_at = self._returned_at[-1]
        async with asyncio.timeout(DEADLINE_S):
            first_new_at = await self._first_new_at
        self.outcome.publish_s.append(returned_at - called_at)
        self.outcome.changed_s.append(first_new_at - called_at)
        self.outcome.obeyed_s.append(first_new_at - returned_at)

    def finish(self, took_s: float) -> Outcome:
        self.outcome.took_s = took_s
        pairs = zip(self._last_old_at, self._returned_at, strict=True)
        self.outcome.outdated_s = [last - returned for last, returned in pairs if last]
        return self.outcome

    def failed(self) -> None:
        self.outcome.requests += 1
        self.outcome.failed += 1

    def answered(self, status: bytes, name: str, since: int) -> None:
        """`since`: what was in force when the request was sent."""
        outcome, now = self.outcome, time.perf_counter()
        outcome.requests += 1
        if status != b"200":
            outcome.failed += 1
            return
        allowed = set().union(*self._allowed[since:])
        outcome.misrouted += name not in allowed
        outcome.widest = max(outcome.widest, len(allowed))
        if name in self._left:
            self._last_old_at[self._left[name]] = now
        elif name in self._allowed[-1] and not self._first_new_at.done():
            self._first_new_at.set_result(now)


async def _user(run: _Run, port: int) -> None:
    """Keeps its connection and its newest cookie. A connection that breaks is a failure, and made again."""
    loop, cookie = asyncio.get_running_loop(), b""
    while not run.is_over:
        _, client = await loop.create_connection(lambda kept=cookie: _Client(run, kept), "127.0.0.1", port)  # type: ignore[misc]
        await client.over
        cookie = client.cookie


class _Client(asyncio.Protocol):
    """Asks again as soon as it is answered. Lean, since what it takes to read an answer is in every figure."""

    def __init__(self, run: _Run, cookie: bytes) -> None:
        self.run, self.cookie = run, cookie
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._since, self._buffer, self._is_waiting = 0, b"", False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._since, self._is_waiting = self.run.in_force, True
        self._transport.write(b"GET / HTTP/1.1\r\nHost: lb.example\r\nCookie: a=b%b\r\n\r\n" % self.cookie)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.split(b"\r\n")
        fields = [line.partition(b": ") for line in lines[1:]]
        if len(body) < next(int(value) for name, _, value in fields if name.lower() == b"content-length"):
            return
        set_cookies = (value.partition(b";")[0] for name, _, value in fields if name.lower() == b"set-cookie")
        self.cookie = b"".join(b"; " + pair for pair in set_cookies)
        self._buffer, self._is_waiting = b"", False
        self.run.answered(lines[0][9:12], body.decode(), self._since)
        if self.run.is_over:
            self._transport.abort()
        else:
            self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        if self._is_waiting:
            self.run.failed()
        if not self.over.done():
            self.over.set_result(None)
