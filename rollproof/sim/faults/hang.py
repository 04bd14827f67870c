"""A task's process stops where it is and goes on later, if at all: SIGSTOP, a deadlock, a long garbage collection.

Its kernel goes on: connections are accepted, and nothing on them is answered. Differs from a stopped process on the
in-process stage: timers that are inside of it run on, but nothing of what they do leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, is_gone


@dataclass(frozen=True)
class Hang(Fault):
    name = "hang"
    summary = "the task's process stops where it is, as by SIGSTOP: it accepts, and answers nothing"
    example = "hang at target draining + 3 s for 30 s"
    hits = Hits.TASK
    stages = frozenset({SIM, LOCAL})

    async def strike(self, scene: Scene, target: str) -> Struck:
        await scene.stage.signal_task(target, "SIGSTOP")

        async def undo() -> None:
            await scene.stage.signal_task(target, "SIGCONT")

        return Struck(undo, is_gone(target))
