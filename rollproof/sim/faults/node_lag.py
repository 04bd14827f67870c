"""One node of the load balancer learns late that a target drains, and goes on sending to it.

Nodes learn of a change one after another (LBC#2366: 10 to 20 s); this one takes longer still. It is never later than
the end of the deregistration delay, at which the target is gone. The core decides what follows: core/target_group.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.events import NodeLagChanged
from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, at_least, parameter


@dataclass(frozen=True)
class NodeLag(Fault):
    name = "node-lag"
    summary = "one load balancer node learns late that a target drains"
    example = "node-lag of node-1 lag_s=60 at warmed-up"
    hits = Hits.NODE
    stages = frozenset({SIM, LOCAL})
    lag_s: float = parameter(60.0, "s", "on top of what nodes take as it is")

    def check(self) -> None:
        at_least(self, 0, "lag_s")

    async def strike(self, scene: Scene, target: str) -> Struck:
        scene.stage.orchestrator.tell(NodeLagChanged(target, self.lag_s / scene.speed))

        async def undo() -> None:
            scene.stage.orchestrator.tell(NodeLagChanged(target, 0.0))

        return Struck(undo)
