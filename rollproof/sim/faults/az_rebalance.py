"""An Availability Zone is away and comes back; ECS then evens the zones out, and tasks elsewhere are stopped for it.

While it is away its tasks are lost and none is started there (ECS-DG-now/service-rebalancing names such a disruption as
the reason for uneven zones). Once it is back, a task starts there first, and then one of the fullest zone is stopped,
with no deployment at all: core/service_zones.py. With `loses_tasks=no` the zone only places nothing, as for lack of
capacity; during a deployment that is enough to leave the zones uneven.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.errors import UsageError
from rollproof.core.events import ZoneAvailabilityChanged
from rollproof.core.task import TaskStatus
from rollproof.core.world import World
from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, parameter


@dataclass(frozen=True)
class AzRebalance(Fault):
    name = "az-rebalance"
    summary = "a zone is away, with its tasks; when it is back (the fault ends), ECS evens the zones out"
    example = "az-rebalance at warmed-up + 10 s for 180 s"
    hits = Hits.SERVICE
    stages = frozenset({SIM, LOCAL})
    zone: str = parameter("", "", "which; else the last of the service's")
    loses_tasks: bool = parameter(True, "", "its tasks die; no: it only places none")

    async def strike(self, scene: Scene, target: str) -> Struck:
        zones = scene.world.settings.service.availability_zones
        zone = self.zone or zones[-1]
        if zone not in zones or len(zones) < 2:
            raise UsageError(f"{self.name}: the service has no zone {zone} to spare", hint=f"one of {', '.join(zones)}")
        orchestrator = scene.stage.orchestrator
        orchestrator.tell(ZoneAvailabilityChanged(zone, is_available=False))
        if self.loses_tasks:
            lost = [x.id for x in scene.world.tasks.values() if x.availability_zone == zone and x.address]
            for task_id in lost:
                await scene.stage.signal_task(task_id, "SIGKILL")

        async def undo() -> None:
            orchestrator.tell(ZoneAvailabilityChanged(zone, is_available=True))

        return Struck(undo, _is_at_rest)


def _is_at_rest(world: World) -> bool:
    """Steady, and nothing on its way up or down any more: a rebalancing ends only with the task that it stopped."""
    return world.is_steady and all(x.known in (TaskStatus.RUNNING, TaskStatus.STOPPED) for x in world.tasks.values())
