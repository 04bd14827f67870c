"""When what happened in a rollout: a listener of a heap world."""

from __future__ import annotations

from dataclasses import dataclass, field

from rollproof.core import commands as c
from rollproof.core import target_group as tg
from rollproof.core.world import World
from rollproof.sim.heap.world import Happened

Span = tuple[float, float]
"""First and last of several, seconds from the deployment."""


@dataclass(frozen=True)
class Moments:
    """Seconds from the deployment, first and last; None where it did not come to that.

    `learned`: nodes stop sending to targets that drain, as far as is known when that begins. `removed`: the
    deregistration delay is over.
    """

    started: Span | None = None
    stopped: Span | None = None
    draining: Span | None = None
    learned: Span | None = None
    removed: Span | None = None
    sigterm: Span | None = None
    sigkill: Span | None = None
    completed: float | None = None
    failed: float | None = None


@dataclass
class Watch:
    """Add `follow` to the heap world's checks."""

    zero: float
    _seen: dict[str, Span] = field(default_factory=dict)

    def follow(self, before: World, happened: Happened, after: World, now: float) -> None:
        match happened:
            case c.StartTask():
                self._see("started", now)
            case c.StopTask():
                self._see("stopped", now)
            case c.DeregisterTarget(task_id=task_id):
                target = after.targets[after.tasks[task_id].address]
                self._see("draining", target.draining_at or now)
                for node in target.nodes:
                    self._see("learned", tg.learned_at(target, node, after.rules) or now)
            case c.RemoveTarget():
                self._see("removed", now)
            case c.SignalContainer():
                self._see("sigterm", now)
            case c.KillContainer():
                self._see("sigkill", now)
            case c.CompleteDeployment():
                self._see("completed", now)
            case c.FailDeployment():
                self._see("failed", now)
            case _:
                pass

    def _see(self, name: str, at: float) -> None:
        first, last = self._seen.get(name, (at - self.zero, at - self.zero))
        self._seen[name] = (min(first, at - self.zero), max(last, at - self.zero))

    def moments(self) -> Moments:
        spans = {name: span for name, span in self._seen.items() if name not in ("completed", "failed")}
        ends = {name: self._seen[name][1] for name in ("completed", "failed") if name in self._seen}
        return Moments(**spans, **ends)  # type: ignore[arg-type]
