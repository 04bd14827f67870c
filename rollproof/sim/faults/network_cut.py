"""Nothing passes between the load balancer and a task: a security group, a broken route. Nobody is told.

New requests wait for a connection and get 504 after the ALB's 10 s, those under way at its idle timeout
(ALB-UG/load-balancer-troubleshooting); health checks get no answer. What else the task talks to it still reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, is_gone
from rollproof.sim.faults.paths import BALANCER_HOST, between
from rollproof.sim.network import Path


@dataclass(frozen=True)
class NetworkCut(Fault):
    name = "network-cut"
    summary = "nothing passes between the load balancer and the task, and nobody is told"
    example = "network-cut of newest at warmed-up + 20 s for 60 s"
    hits = Hits.TASK

    async def strike(self, scene: Scene, target: str) -> Struck:
        ends = {scene.sim.runtime.process(target).host, BALANCER_HOST}

        def cut(source: str, destination: str, path: Path) -> Path:
            return replace(path, is_cut=True) if {source, destination} == ends else path

        return between(scene, f"{self.name} {target}", cut, is_gone(target))
