"""One load balancer node: its view of the targets, its turn, and its own connections to each target."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from rollproof.core.routing import NodeView
from rollproof.core.routing_table import RoutableTarget
from rollproof.orchestrator.balancers.embedded.counters import NodeStats, TargetStats

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.exchange import Exchange
    from rollproof.orchestrator.balancers.embedded.target_side import TargetConnection


class Node:
    """State that an ALB keeps per node. Views are replaced with each table; the rest stays."""

    def __init__(self, node_id: str, view: NodeView, published_at: float) -> None:
        self.id = node_id
        self.view = view
        self.published_at = published_at
        self.turn = 0
        self.outstanding: defaultdict[str, int] = defaultdict(int)
        self.pools: dict[str, TargetPool] = {}
        self.retired: set[TargetPool] = set()  # of targets that left the table, while requests are in flight
        self.stats = NodeStats()

    def all_pools(self) -> list[TargetPool]:
        return [*self.pools.values(), *self.retired]

    def pool(self, target: RoutableTarget, stats: Callable[[str], TargetStats]) -> TargetPool:
        """The pool of `target`; a new one if its address has changed."""
        pool = self.pools.get(target.id)
        if pool is not None and pool.address == target.address:
            return pool
        if pool is not None:
            self._retire(pool)
        pool = self.pools[target.id] = TargetPool(self, target, stats(target.id))
        return pool

    def update(self, view: NodeView, targets: tuple[RoutableTarget, ...], published_at: float) -> None:
        """Take a new view. Idle connections to targets that are gone, or have moved, are closed."""
        self.view = view
        self.published_at = published_at
        addresses = {t.id: t.address for t in targets}
        for target_id, pool in list(self.pools.items()):
            if addresses.get(target_id) != pool.address:
                del self.pools[target_id]
                self._retire(pool)
        self.retired = {pool for pool in self.retired if pool.is_used}

    def _retire(self, pool: TargetPool) -> None:
        pool.retire()
        if pool.is_used:
            self.retired.add(pool)


class TargetPool:
    """One node's connections to one target: those idle, those with a request, and connects under way."""

    def __init__(self, node: Node, target: RoutableTarget, stats: TargetStats) -> None:
        host, _, port = target.address.rpartition(":")
        self.node = node
        self.target_id = target.id
        self.address = target.address
        self.host, self.port = host.strip("[]"), int(port)
        self.stats = stats
        self.idle: list[TargetConnection] = []
        self.busy: dict[Exchange, None] = {}  # a set in the order of their beginning
        self.connects: set[asyncio.Task[None]] = set()
        self._is_retired = False

    @property
    def is_used(self) -> bool:
        return bool(self.busy)

    def take(self) -> TargetConnection | None:
        """The idle connection used last, or None."""
        while self.idle:
            link = self.idle.pop()
            if not link.is_closing:
                return link
        return None

    def give_back(self, link: TargetConnection) -> None:
        if self._is_retired:
            link.close()
        else:
            self.idle.append(link)

    def forget(self, link: TargetConnection) -> None:
        """`link` was closed, by whichever side."""
        if link in self.idle:
            self.idle.remove(link)

    def close_idle(self) -> None:
        idle, self.idle = self.idle, []
        for link in idle:
            link.close()

    def retire(self) -> None:
        """No new requests will come: close what is idle now, and the rest when it has answered."""
        self._is_retired = True
        self.close_idle()
