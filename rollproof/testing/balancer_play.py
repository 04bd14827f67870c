"""What a test of a data plane plays with: the stage, its targets, the table in force, the fixtures that make them.

Real connections on loopback, targets that record what reaches them (`balancer_target`), a client without
mercy (`balancer_wire`). After every test no target may have anything to object to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Protocol

import pytest

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness, StickinessType
from rollproof.orchestrator.ports import Balancer
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Response, Wire

ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/mcp/73e2d6bc24d8a067"
LB_COOKIE = Stickiness(enabled=True, type=StickinessType.LB_COOKIE, duration_s=60.0)
APP_COOKIE = Stickiness(enabled=True, type=StickinessType.APP_COOKIE, duration_s=60.0, cookie_name="SESSION")
PAGE_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


class BalancerStage(Protocol):
    """One data plane under test."""

    @property
    def balancer(self) -> Balancer: ...

    @property
    def port(self) -> int: ...

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call of the control interface: status and JSON."""


class Play:
    """A data plane, its targets, and the table in force."""

    def __init__(self, stage: BalancerStage, *targets: TargetServer) -> None:
        self.stage, self.targets = stage, targets
        self.table = RoutingTable(0, (NodeTable("node-0"),), target_group_arn=ARN)
        self.tables = [self.table]  # all so far; the last one may be on its way
        self.in_force = 0  # index of the last whose publish has returned

    async def publish(self, *nodes: str, **changes: Any) -> RoutingTable:
        """A table of the next generation. A node is written as "a b~": b~ drains (neither new nor sticky).
        `changes` are RoutingTable's fields."""
        rows = tuple(NodeTable(f"node-{n}", self._row(text)) for n, text in enumerate(nodes))
        self.table = replace(self.table, generation=self.table.generation + 1, nodes=rows, **changes)
        self.tables.append(self.table)
        await self.stage.balancer.publish(self.table)
        self.in_force = len(self.tables) - 1
        return self.table

    def _row(self, text: str) -> tuple[RoutableTarget, ...]:
        addresses = {target.name: target.address for target in self.targets}
        return tuple(
            RoutableTarget(
                id=f"id-{word[0]}",
                address=addresses[word[0]],
                state="draining" if word.endswith("~") else "healthy",
                new=not word.endswith("~"),
                sticky=not word.endswith("~"),
            )
            for word in text.split()
        )

    def wire(self) -> Any:
        """`async with play.wire() as wire` in two steps: connections go round the nodes."""
        return Wire.to(self.stage.port)

    async def ask(self, data: bytes) -> Response:
        """One request on a connection of its own."""
        async with await Wire.to(self.stage.port) as wire:
            return await wire.ask(data)

    async def entries(self, count: int) -> list[AccessLogEntry]:
        """The first `count` lines of the access log."""
        found: list[AccessLogEntry] = []
        async with asyncio.timeout(DEADLINE_S):
            async for _, entry in self.stage.balancer.access_log(0):
                found.append(entry)
                if len(found) == count:
                    break
        return found

    async def outstanding(self) -> int:
        return sum(counted.outstanding for counted in (await self.stage.balancer.counters()).values())


class PlayFixtures:
    @pytest.fixture
    async def targets(self) -> AsyncIterator[tuple[TargetServer, ...]]:
        servers = tuple(TargetServer(name) for name in "abc")
        for server in servers:
            await server.start()
        yield servers
        for server in servers:
            await server.stop()
        assert [v for server in servers for v in server.violations] == []

    @pytest.fixture
    async def play(self, stage: BalancerStage, targets: tuple[TargetServer, ...]) -> Play:
        return Play(stage, *targets)
