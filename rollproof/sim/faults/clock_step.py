"""A task's wall clock steps: a correction by NTP, a wrong host clock. Its monotonic clock goes on as ever."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.errors import UsageError
from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, parameter


@dataclass(frozen=True)
class ClockStep(Fault):
    name = "clock-step"
    summary = "the task's wall clock steps, forward or (by_s below 0) back; its monotonic one does not"
    example = "clock-step of oldest by_s=3600 at warmed-up + 10 s"
    hits = Hits.TASK
    by_s: float = parameter(3600.0, "s", "forward; negative: back")

    def check(self) -> None:
        if not self.by_s:
            raise UsageError(f"{self.name}: by_s=0 is no step", hint=f"e.g. {self.example}")

    async def strike(self, scene: Scene, target: str) -> Struck:
        process = scene.sim.runtime.process(target)
        process.wall_clock_s += self.by_s

        async def undo() -> None:
            process.wall_clock_s -= self.by_s

        return Struck(undo)
