"""The data plane: the current table, its nodes, and what every connection asks of them.

Decides nothing by itself: who may be chosen, how long a delay lasts and what a node knows comes with the table.
One event loop, one thread: a table takes effect between two callbacks, so no request ever sees half of one.
"""

from __future__ import annotations

import random
from math import inf
from typing import TYPE_CHECKING, Any, assert_never

from rollproof.core.access_log import load_balancer_resource
from rollproof.core.errors import Permanent
from rollproof.core.routing import choose, choose_free, node_view, stuck_target
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Routing
from rollproof.core.stickiness import target_key
from rollproof.orchestrator.balancers.embedded.affinity import SessionAffinity
from rollproof.orchestrator.balancers.embedded.clock import PlaneClock
from rollproof.orchestrator.balancers.embedded.cookies import Seal, cookies_for
from rollproof.orchestrator.balancers.embedded.counters import TargetStats, total
from rollproof.orchestrator.balancers.embedded.forwarding import ForwardingRules
from rollproof.orchestrator.balancers.embedded.log_writer import Log
from rollproof.orchestrator.balancers.embedded.node import Node

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
    from rollproof.orchestrator.balancers.embedded.heads import RequestHead
    from rollproof.orchestrator.runtimes.freezer import Freezer

EMPTY_TABLE = RoutingTable(generation=-1, nodes=(NodeTable("node-0"),))
"""Before the first table: every request is answered with 503."""

CUT_REASON = "DeregistrationDelayElapsed"

_SWEEP_S = 0.25
_DIGITS = 24 * 512


class DataPlane:
    """Shared by all connections of one balancer."""

    def __init__(
        self,
        log: Log,
        seal: Seal,
        *,
        chance: random.Random | None = None,
        freezer: Freezer | None = None,
        clock: PlaneClock | None = None,
    ) -> None:
        self.log = log
        self.clock = clock or PlaneClock()
        self.clients: dict[ClientConnection, None] = {}  # a set in the order of arrival
        self.targets: dict[str, TargetStats] = {}
        self.affinity = SessionAffinity()
        self._freezer = freezer
        self.is_stopping = False
        self._seal = seal
        self._chance = chance or random.Random()
        self._digits, self._digits_at = b"", 0
        self._accepted = 0
        self._nodes: dict[str, Node] = {}
        self._keys: dict[str, bytes] = {}
        self._take(EMPTY_TABLE)

    # --- the table ----------------------------------------------------------------------------

    def publish(self, table: RoutingTable) -> None:
        """Obey `table` from now on. The same generation again changes nothing; raises Permanent for an older one."""
        if table.generation < self.table.generation:
            raise Permanent(
                f"routing table of generation {table.generation} refused: {self.table.generation} is in force",
                hint="publish with a higher generation",
            )
        if table.generation > self.table.generation:
            self._take(table)

    def _take(self, table: RoutingTable) -> None:
        now = self.clock.now()
        self.table = table
        self.settings = table.load_balancer
        self.routing = table.platform.routing
        self.request_timeout_s = table.platform.request_timeout_s or inf
        self.rules = ForwardingRules(table.load_balancer)
        self.cookies = cookies_for(table.stickiness, self._seal, table.target_group_arn, is_secure=self.rules.is_secure)
        self.elb = load_balancer_resource(table.load_balancer.name)
        self._keys = {t.id: target_key(t.id) for n in table.nodes for t in n.targets}
        self.nodes: list[Node] = []
        for row in table.nodes:
            view, node = node_view(table, row), self._nodes.get(row.id)
            if node is None:
                node = self._nodes[row.id] = Node(row.id, view, now)
            node.update(view, row.targets, now)
            self.nodes.append(node)
        for node in self._nodes.values():
            if node not in self.nodes:
                node.update(node_view(table, NodeTable(node.id)), (), now)

    # --- what connections ask -----------------------------------------------------------------

    def next_node_index(self) -> int:
        """Client connections go round the nodes, as clients of a DNS name with several addresses do."""
        self._accepted += 1
        return self._accepted - 1

    def node_at(self, index: int) -> Node:
        return self.nodes[index % len(self.nodes)]

    def route(self, node: Node, request: RequestHead, now: float) -> tuple[RoutableTarget | None, bool]:
        """The target of one request, None where there is none; and whether its cookie counted."""
        match self.routing:
            case Routing.COOKIES:
                return self._by_cookie(node, request.cookie, now)
            case Routing.EXCLUSIVE:
                return choose_free(node.view, draw=self._chance.random(), taken=self._busy()), False
            case Routing.BY_SESSION_HEADER:
                bound = self.affinity.target_of(request, now, self.table.platform)
                target = stuck_target(node.view, self.key_of(bound)) if bound else None
                if target is None:
                    taken = self._busy() | self.affinity.bound_targets(now, self.table.platform)
                    target = choose_free(node.view, draw=self._chance.random(), taken=taken)
                return target, False
            case _ as unknown:
                assert_never(unknown)

    def _busy(self) -> set[str]:
        """Targets with a request in flight."""
        return {target_id for target_id, stats in self.targets.items() if stats.outstanding}

    def _by_cookie(self, node: Node, cookie: bytes | None, now: float) -> tuple[RoutableTarget | None, bool]:
        view = node.view
        claim = self.cookies.read(cookie)
        had_claim = claim is not None and claim.valid_until > self.clock.unix(now)
        target = stuck_target(view, claim.key) if claim is not None and had_claim else None
        if target is None:
            if self.table.stickiness.enabled:
                node.stats.non_sticky += 1
            target = choose(
                view,
                turn=node.turn,
                outstanding=node.outstanding,
                draw=self._chance.random(),
                elapsed_s=now - node.published_at,
            )
            node.turn += 1
        return target, had_claim

    def thaw(self, address: str) -> None:
        """Before a request: let the instance run."""
        if self._freezer is not None and self.routing is Routing.EXCLUSIVE:
            self._freezer.thaw(address)

    def freeze(self, address: str) -> None:
        """After its response: stop the instance until the next one."""
        if self._freezer is not None and self.routing is Routing.EXCLUSIVE:
            self._freezer.freeze(address)

    def fresh_id(self, digits: int) -> bytes:
        """Random hex digits, drawn many at once."""
        digits_left = self._digits[self._digits_at : self._digits_at + digits]
        self._digits_at += digits
        if len(digits_left) == digits:
            return digits_left
        self._digits = self._chance.randbytes(_DIGITS // 2).hex().encode()
        self._digits_at = digits
        return self._digits[:digits]

    def fresh_trace_id(self, now: float) -> bytes:
        """1-<8 hex of the time>-<24 hex>. ALB-UG/load-balancer-request-tracing."""
        return b"1-%08x-%b" % (int(self.clock.unix(now)), self.fresh_id(24))

    def key_of(self, target_id: str) -> bytes:
        return self._keys.get(target_id) or target_key(target_id)

    def stats_of(self, target_id: str) -> TargetStats:
        return self.targets.setdefault(target_id, TargetStats())

    # --- control ------------------------------------------------------------------------------

    def cut(self, target_id: str) -> int:
        """End every request in flight on the target: 502 where no response has begun, else a closed connection."""
        cut = 0
        for node in self._nodes.values():
            for pool in node.all_pools():
                if pool.target_id == target_id:
                    pool.close_idle()
                    for exchange in list(pool.busy):
                        exchange.fail(502, CUT_REASON)
                        cut += 1
        return cut

    def counters(self) -> dict[str, Any]:
        nodes = {node.id: node.stats.to_json() for node in self._nodes.values()}
        return {
            "generation": self.table.generation,
            "targets": {target_id: stats.to_json() for target_id, stats in self.targets.items()},
            "totals": total(list(nodes.values())),
            "nodes": nodes,
        }

    def sweep(self) -> None:
        """Apply the timeouts: called a few times a second, instead of a timer a request."""
        self.clock.refresh()
        now = self.clock.now()
        for client in list(self.clients):
            client.sweep(now)
        oldest = now - self.settings.idle_timeout_s
        for node in self._nodes.values():
            for pool in node.all_pools():
                for link in [link for link in pool.idle if link.active_at < oldest]:
                    link.close()

    def close_all(self) -> None:
        """The balancer ends: every connection is closed, requests in flight as by `cut`."""
        for client in list(self.clients):
            client.end()
        for node in self._nodes.values():
            for pool in node.all_pools():
                pool.retire()
                for task in list(pool.connects):
                    task.cancel()

    @property
    def has_connections(self) -> bool:
        return bool(self.clients) or any(p.connects for n in self._nodes.values() for p in n.all_pools())

    @property
    def sweep_interval_s(self) -> float:
        shortest = min(self.settings.idle_timeout_s, self.settings.client_keep_alive_s, self.request_timeout_s)
        return min(_SWEEP_S, max(0.02, shortest / 8))
