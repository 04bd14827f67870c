"""A task fails some of its health checks and passes the next, over and over; whatever else it is asked it answers.

With one failure less than the unhealthy threshold nothing comes of it (ALB-UG/target-group-health-checks); with as many
as that the target is unhealthy, and ECS replaces the task, though it may be healthy again by then (WN-2023-10-23).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from rollproof.core.events import HealthCheckAnswered
from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, at_least, is_gone, parameter


@dataclass(frozen=True)
class HealthFlap(Fault):
    name = "health-flap"
    summary = "the task fails some health checks and passes the next, in turn, for each node"
    example = "health-flap failures=1 at warmed-up for 300 s"
    hits = Hits.TASK
    failures: int = parameter(0, "checks", "that fail in a row; 0: one less than the unhealthy threshold")
    passes: int = parameter(1, "checks", "that pass after them")
    status: int = parameter(503, "", "the answer of those that fail")

    def check(self) -> None:
        at_least(self, 0, "failures")
        at_least(self, 1, "passes")

    async def strike(self, scene: Scene, target: str) -> Struck:
        threshold = scene.world.settings.target_group.health_check.unhealthy_threshold
        failures, asked = self.failures or threshold - 1, Counter[str]()
        address, rules = scene.world.tasks[target].address, scene.sim.checker.rules

        def flap(answer: HealthCheckAnswered) -> HealthCheckAnswered:
            if answer.target_id != address:
                return answer
            asked[answer.node] += 1
            is_failure = (asked[answer.node] - 1) % (failures + self.passes) < failures
            return replace(answer, status=self.status, failure="") if is_failure else answer

        rules[self._rule(target)] = flap

        async def undo() -> None:
            rules.pop(self._rule(target), None)

        return Struck(undo, is_gone(target) if failures >= threshold else Struck().is_over)

    def _rule(self, target: str) -> str:
        return f"{self.name} {target}"
