"""What the control plane tells a load balancer's data plane: one full table, with a generation.

The core decides health, timers, fail-open and drain propagation; a data plane only picks, signs, proxies
and logs. So a table already says, for each ALB node and target, whether a *new* choice may fall on it and
whether a *valid sticky cookie* may still reach it. Pushing the same generation again changes nothing; an
older generation is refused. The embedded balancer and nginx read the same JSON.

    {"generation": 7, "algorithm": "round_robin", "stickiness": {...}, "load_balancer": {...},
     "platform": {...}, "target_group_arn": "arn:...", "nodes": [{"id": "node-0", "targets": [
        {"id": "10.0.0.12:8000", "address": "127.0.0.1:41833", "state": "healthy",
         "new": true, "sticky": true, "slow_start_age_s": null}]}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rollproof.core.settings import (
    Algorithm,
    LoadBalancerSettings,
    PlatformSettings,
    Routing,
    Stickiness,
    StickinessType,
)


@dataclass(frozen=True)
class RoutableTarget:
    """One target as one node sees it. `id` is stable for the target's life and goes into sticky cookies."""

    id: str
    address: str  # host:port to connect to
    state: str  # as the node knows it: initial, healthy, unhealthy, draining
    new: bool  # the algorithm may pick it
    sticky: bool  # a valid cookie naming it is obeyed; or a session that is bound to it
    slow_start_age_s: float | None = None  # seconds since it became healthy, while its slow start lasts


@dataclass(frozen=True)
class NodeTable:
    """The targets as one ALB node sees them; nodes learn of changes at different times (LBC#2366)."""

    id: str
    targets: tuple[RoutableTarget, ...] = ()


@dataclass(frozen=True)
class RoutingTable:
    """The whole table. `nodes` is never empty; with no target a data plane answers 503."""

    generation: int
    nodes: tuple[NodeTable, ...]
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    stickiness: Stickiness = field(default_factory=Stickiness)
    slow_start_s: float = 0.0
    load_balancer: LoadBalancerSettings = field(default_factory=LoadBalancerSettings)
    target_group_arn: str = ""
    platform: PlatformSettings = field(default_factory=PlatformSettings)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RoutingTable:
        """Raises KeyError, TypeError or ValueError when `data` is not a table."""
        nodes = tuple(NodeTable(n["id"], tuple(RoutableTarget(**t) for t in n["targets"])) for n in data["nodes"])
        sticky = dict(data["stickiness"])
        sticky["type"] = StickinessType(sticky["type"])
        platform = dict(data["platform"])
        platform["routing"] = Routing(platform["routing"])
        return cls(
            generation=int(data["generation"]),
            nodes=nodes,
            algorithm=Algorithm(data["algorithm"]),
            stickiness=Stickiness(**sticky),
            slow_start_s=float(data["slow_start_s"]),
            load_balancer=LoadBalancerSettings(**data["load_balancer"]),
            target_group_arn=str(data["target_group_arn"]),
            platform=PlatformSettings(**platform),
        )
