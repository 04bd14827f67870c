"""The desired count is lowered: autoscaling, or a person. ECS picks the tasks that go (core/service_stops.py)."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.errors import UsageError
from rollproof.core.events import ServiceUpdateRequested
from rollproof.core.task import TaskStatus
from rollproof.core.world import World
from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, at_least, parameter


@dataclass(frozen=True)
class ScaleIn(Fault):
    name = "scale-in"
    summary = "the desired count is lowered; when the fault ends, raised again"
    example = "scale-in to=1 at warmed-up + 10 s"
    hits = Hits.SERVICE
    stages = frozenset({SIM, LOCAL})
    to: int = parameter(0, "tasks", "the desired count; 0: half of it, rounded up")

    def check(self) -> None:
        at_least(self, 0, "to")

    async def strike(self, scene: Scene, target: str) -> Struck:
        before = scene.world.settings.service.desired_count
        to = self.to or -(-before // 2)
        if to >= before:
            raise UsageError(f"{self.name}: the desired count is {before}", hint="--set desired_count=2, or more")
        orchestrator = scene.stage.orchestrator
        orchestrator.tell(ServiceUpdateRequested(desired_count=to))

        async def undo() -> None:
            orchestrator.tell(ServiceUpdateRequested(desired_count=before))

        def is_over(world: World) -> bool:
            return world.is_steady and sum(x.known < TaskStatus.STOPPED for x in world.tasks.values()) <= to

        return Struck(undo, is_over)
