"""A task answers everything late: a starved CPU, a slow disk, a busy neighbour. Health checks wait as well."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, at_least, parameter
from rollproof.sim.faults.paths import BALANCER_HOST, between
from rollproof.sim.network import Path


@dataclass(frozen=True)
class SlowResponses(Fault):
    name = "slow-responses"
    summary = "whatever the task answers comes later"
    example = "slow-responses of oldest delay_s=3 at warmed-up for 60 s"
    hits = Hits.TASK
    delay_s: float = parameter(2.0, "s", "added to every answer, those to health checks among them")

    def check(self) -> None:
        at_least(self, 0, "delay_s")

    async def strike(self, scene: Scene, target: str) -> Struck:
        host = scene.sim.runtime.process(target).host

        def slowed(source: str, destination: str, path: Path) -> Path:
            is_an_answer = source == host and destination == BALANCER_HOST
            return replace(path, latency_s=path.latency_s + self.delay_s) if is_an_answer else path

        return between(scene, f"{self.name} {target}", slowed)
