"""What may be done to a service in a heap world: deployments, scaling, faults, time. Each step is a value whose repr is
the Python that makes it, so that a list of them can be printed and pasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollproof.core import events as e
from rollproof.core.task import Task, TaskStatus
from rollproof.sim.heap.containers import GOOD, Behaviour
from rollproof.sim.heap.world import HeapWorld


@dataclass(frozen=True)
class Deploy:
    """UpdateService with a new revision, whose containers behave so."""

    behaviour: Behaviour = GOOD

    def do(self, heap: HeapWorld) -> None:
        heap.deploy(heap.world.settings.task_definition.revision + len(heap.world.definitions), self.behaviour)


@dataclass(frozen=True)
class Force:
    """UpdateService --force-new-deployment."""

    def do(self, heap: HeapWorld) -> None:
        heap.update(force_new_deployment=True)


@dataclass(frozen=True)
class Scale:
    desired_count: int
    deploys: bool = False  # and forces a new deployment with it

    def do(self, heap: HeapWorld) -> None:
        heap.update(desired_count=self.desired_count, force_new_deployment=self.deploys)


@dataclass(frozen=True)
class ChangePercents:
    minimum_healthy_percent: int
    maximum_percent: int

    def do(self, heap: HeapWorld) -> None:
        heap.update(minimum_healthy_percent=self.minimum_healthy_percent, maximum_percent=self.maximum_percent)


@dataclass(frozen=True)
class _OfTask:
    """`task` counts through the tasks that are not STOPPED, and round again; without any nothing is done."""

    task: int

    def do(self, heap: HeapWorld) -> None:
        alive = [x for x in heap.world.tasks.values() if x.known is not TaskStatus.STOPPED]
        if alive:
            self.to(heap, alive[self.task % len(alive)])

    def to(self, heap: HeapWorld, task: Task) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Crash(_OfTask):
    exit_code: int = 1

    def to(self, heap: HeapWorld, task: Task) -> None:
        heap.tell(e.ContainerExited(task.id, self.exit_code)).run(0)


@dataclass(frozen=True)
class StopTask(_OfTask):
    def to(self, heap: HeapWorld, task: Task) -> None:
        heap.tell(e.TaskStopRequested(task.id, "maintenance")).run(0)


@dataclass(frozen=True)
class AnswerChecks(_OfTask):
    """From now on its health checks are answered with `status`; None: it hangs."""

    status: int | None = 503

    def to(self, heap: HeapWorld, task: Task) -> None:
        heap.behave(task.id, replace(heap.containers.behaviour_of(task), health_status=self.status))


@dataclass(frozen=True)
class CheckContainer(_OfTask):
    """The container's own health check says so, once it is RUNNING."""

    healthy: bool = False

    def to(self, heap: HeapWorld, task: Task) -> None:
        if task.known is TaskStatus.RUNNING:
            heap.tell(e.ContainerHealthChanged(task.id, self.healthy)).run(0)


@dataclass(frozen=True)
class Protect(_OfTask):
    """Scale-in protection for ten minutes, or none any more."""

    enabled: bool = True

    def to(self, heap: HeapWorld, task: Task) -> None:
        heap.tell(e.TaskProtectionChanged(task.id, self.enabled, 10)).run(0)


@dataclass(frozen=True)
class ProtectZone:
    """The same for all tasks of one zone, so that a scale-in takes others. `zone` counts as `task` does."""

    zone: int
    enabled: bool = True

    def do(self, heap: HeapWorld) -> None:
        zones = heap.world.settings.service.availability_zones
        for task in heap.world.tasks.values():
            if task.known is not TaskStatus.STOPPED and task.availability_zone == zones[self.zone % len(zones)]:
                heap.tell(e.TaskProtectionChanged(task.id, self.enabled, 10))
        heap.run(0)


@dataclass(frozen=True)
class Interrupt(_OfTask):
    """Fargate Spot takes its capacity back."""

    def to(self, heap: HeapWorld, task: Task) -> None:
        heap.tell(e.SpotInterrupted(task.id)).run(0)


@dataclass(frozen=True)
class ImpairZone:
    """A zone can place no task, or can again. `zone` counts as `task` does."""

    zone: int
    is_available: bool = False

    def do(self, heap: HeapWorld) -> None:
        zones = heap.world.settings.service.availability_zones
        heap.tell(e.ZoneAvailabilityChanged(zones[self.zone % len(zones)], self.is_available)).run(0)


@dataclass(frozen=True)
class LagNode:
    """A load balancer node learns of draining so much later than the others. `node` counts as `task` does."""

    node: int
    lag_s: float

    def do(self, heap: HeapWorld) -> None:
        nodes = heap.world.rules.node_ids
        heap.tell(e.NodeLagChanged(nodes[self.node % len(nodes)], self.lag_s)).run(0)


@dataclass(frozen=True)
class Wait:
    seconds: float

    def do(self, heap: HeapWorld) -> None:
        heap.run(self.seconds)


Step = (
    Deploy | Force | Scale | ChangePercents | Crash | StopTask | AnswerChecks | CheckContainer | Protect | ProtectZone
    | Interrupt | ImpairZone | LagNode | Wait
)  # fmt: skip
Steps = Sequence[Step]
