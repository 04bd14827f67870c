"""Fargate Spot: two minutes from the warning to the end, whatever the task and its target still have to do.

The warning is the decision to stop. ECS then deregisters the target before it sends SIGTERM (WN-2023-02-13,
`spot_drains`), or sends SIGTERM at once (CR#2673, of September 2025). Those two minutes are the whole time: a
deregistration delay that would last longer is cut short, which is why the knowledge centre asks for one of less than
two minutes with Spot. How ECS divides them is not documented; here SIGTERM comes when the target is gone, and at the
latest a stop timeout before the end [inferred].

Worked example, stop timeout 30 s: with a delay of 60 s the warning at 0 s is followed by the deregistration at 10 s,
SIGTERM at 80 s and SIGKILL at 110 s. With 300 s SIGTERM comes at 90 s, into the drain, and SIGKILL at 120 s.
"""

from __future__ import annotations

from rollproof.core.task import StopCode, Task
from rollproof.core.world import World


def is_signal_due(world: World, task: Task, now: float) -> bool:
    """Whether an interrupted task is signalled though its target still drains."""
    if task.stop_code is not StopCode.SPOT_INTERRUPTION or task.stop_decided_at is None:
        return False
    return now >= signal_due_at(world, task, task.stop_decided_at)


def signal_due_at(world: World, task: Task, warned_at: float) -> float:
    """When it is, of a task that was warned at `warned_at`."""
    stop_timeout_s = world.definitions[task.definition].stop_timeout_s
    return warned_at + max(0.0, world.timing.spot_warning_s - stop_timeout_s)


def killed_at(world: World, task: Task, stopping_at: float) -> float:
    """When SIGKILL follows a signal of `stopping_at`: a stop timeout later, or at the end of a Spot warning."""
    at = stopping_at + world.definitions[task.definition].stop_timeout_s
    if task.stop_code is not StopCode.SPOT_INTERRUPTION or task.stop_decided_at is None:
        return at
    return min(at, max(stopping_at, task.stop_decided_at + world.timing.spot_warning_s))
