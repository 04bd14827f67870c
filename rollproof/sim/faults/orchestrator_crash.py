"""The orchestrator, which plays ECS, is killed, and another one goes on from what it has saved.

Until then nobody decides anything and no target is checked; tasks and load balancer serve as before. AWS has no such
fault that one could see: this one is about rollproof itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck


@dataclass(frozen=True)
class OrchestratorCrash(Fault):
    name = "orchestrator-crash"
    summary = "the orchestrator is killed; another adopts what it left, at once or when the fault ends"
    example = "orchestrator-crash at target draining + 5 s for 20 s"
    hits = Hits.SERVICE

    async def strike(self, scene: Scene, target: str) -> Struck:
        scene.sim.orchestrator.kill()
        return Struck(scene.sim.orchestrator.succeed)
