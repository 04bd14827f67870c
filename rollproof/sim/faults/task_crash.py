"""A task's process dies: as by SIGKILL or out of memory, unknown to ECS until the runtime tells."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, is_gone


@dataclass(frozen=True)
class Crash(Fault):
    name = "crash"
    summary = "the task's process dies, as by SIGKILL"
    example = "crash of oldest at warmed-up + 10 s"
    hits = Hits.TASK
    can_end = False
    stages = frozenset({SIM, LOCAL})

    async def strike(self, scene: Scene, target: str) -> Struck:
        await scene.stage.signal_task(target, "SIGKILL")
        return Struck(is_over=is_gone(target))
