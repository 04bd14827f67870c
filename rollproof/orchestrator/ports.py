"""What the loop needs of the world: a runtime for tasks, a balancer, a store. Five methods at most each.

Every port has a fake in `rollproof.testing`; the fake and the real adapters pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.events import ContainerEvent
from rollproof.core.routing_table import RoutingTable
from rollproof.core.settings import TaskDefinition


@dataclass(frozen=True)
class TaskSpec:
    """What a runtime is to start. `environment` is complete: the definition's, secrets resolved."""

    task_id: str  # 32 hex
    task_arn: str
    cluster_arn: str
    service: str
    availability_zone: str
    definition: TaskDefinition
    environment: Mapping[str, str]
    log_path: Path
    metadata: Mapping[str, Any]  # extra fields of the task metadata endpoint


@dataclass(frozen=True)
class FoundTask:
    """A task that a runtime still has, for adoption after a restart. `exit_code` is set if it has ended."""

    task_id: str
    address: str
    exit_code: int | None = None


class Runtime(Protocol):
    """Starts and stops tasks. Decides nothing: order and timing are the core's."""

    async def start(self, spec: TaskSpec) -> None:
        """Begin to start it; the outcome is a ContainerStarted or ContainerStartFailed of `watch`."""

    async def signal(self, task_id: str, signal: str) -> None:
        """Send `signal` (a name, "SIGTERM", "SIGKILL") to the task's process group. A task that is gone is no error."""

    def watch(self) -> AsyncIterator[ContainerEvent]:
        """Events of all its tasks, adopted ones included, each at least once."""

    async def describe(self) -> list[FoundTask]:
        """The tasks it has, running or ended but not yet removed."""

    async def remove(self, task_id: str) -> None:
        """Kill what is left of the task and forget it. Idempotent."""


@dataclass(frozen=True)
class TargetCounters:
    """Per target since the balancer started; `outstanding` is now."""

    outstanding: int
    requests: int
    connections: int


class Balancer(Protocol):
    """A data plane: obeys the table, cuts what it is told to cut, and logs."""

    async def publish(self, table: RoutingTable) -> None:
        """Replace the table. Same generation: no effect. Older: refused. Raises Temporary if unreachable."""

    async def cut(self, target_id: str) -> int:
        """Close this target's connections as the end of a deregistration delay does: 502 where no response
        has begun, a closed connection where one has. Returns how many were cut."""

    async def counters(self) -> Mapping[str, TargetCounters]:
        """Counters by target id."""

    def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        """The access log from byte `offset` on, followed as it grows; each entry with the offset behind it."""


class Store(Protocol):
    """Keeps the world so that a killed orchestrator can go on."""

    def save(self, state: Mapping[str, Any]) -> None: ...

    def load(self) -> dict[str, Any] | None: ...
