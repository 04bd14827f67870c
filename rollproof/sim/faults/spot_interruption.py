"""Fargate Spot takes a task's capacity back, with two minutes' warning: core/spot.py.

`--set spot_drains=false` for SIGTERM without a deregistration before it, as reported in 2025 (CR#2673).
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.events import SpotInterrupted
from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, is_gone


@dataclass(frozen=True)
class SpotInterruption(Fault):
    name = "spot-interruption"
    summary = "Fargate Spot takes the task's capacity back, with two minutes' warning"
    example = "spot-interruption of random at warmed-up + 10 s"
    hits = Hits.TASK
    can_end = False
    stages = frozenset({SIM, LOCAL})

    async def strike(self, scene: Scene, target: str) -> Struck:
        scene.stage.orchestrator.tell(SpotInterrupted(target))
        return Struck(is_over=is_gone(target))
