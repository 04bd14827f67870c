"""What the balancer counts, in CloudWatch's names where there is one. ALB-UG/load-balancer-cloudwatch-metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass
class TargetStats:
    """One target, over all nodes, since the balancer started; `outstanding` is now."""

    outstanding: int = 0
    requests: int = 0
    connections: int = 0

    def to_json(self) -> dict[str, int]:
        return {"outstanding": self.outstanding, "requests": self.requests, "connections": self.connections}


@dataclass
class NodeStats:
    """One load balancer node since the balancer started; `active_connections` is now."""

    requests: int = 0
    non_sticky: int = 0
    new_connections: int = 0
    active_connections: int = 0
    target_connection_errors: int = 0
    processed_bytes: int = 0

    def __post_init__(self) -> None:
        self.elb_statuses: Counter[int] = Counter()  # of responses the balancer made itself
        self.target_statuses: Counter[int] = Counter()

    def to_json(self) -> dict[str, Any]:
        counted: Counter[str] = Counter()
        for status, count in self.elb_statuses.items():
            counted[f"HTTPCode_ELB_{status // 100}XX_Count"] += count
            if status in (500, 502, 503, 504):
                counted[f"HTTPCode_ELB_{status}_Count"] += count
        for status, count in self.target_statuses.items():
            counted[f"HTTPCode_Target_{status // 100}XX_Count"] += count
        return {
            "RequestCount": self.requests,
            "NonStickyRequestCount": self.non_sticky,
            "NewConnectionCount": self.new_connections,
            "ActiveConnectionCount": self.active_connections,
            "TargetConnectionErrorCount": self.target_connection_errors,
            "ProcessedBytes": self.processed_bytes,
            **dict(sorted(counted.items())),
        }


def total(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """The sum of several nodes' counters."""
    summed: Counter[str] = Counter()
    for node in nodes:
        summed.update(node)
    return dict(summed)
