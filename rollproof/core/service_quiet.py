"""Until when the scheduler has nothing to do, if nothing happens: what lets a simulation pass over idle passes."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from rollproof.core.service_census import has_begun
from rollproof.core.spot import signal_due_at
from rollproof.core.task import StopCode, Task, TaskStatus
from rollproof.core.world import World


def quiet_until(world: World, now: float) -> float:
    """Given that its pass at `now` decided nothing: the earliest time at which another pass may, with nothing told.

    Passes compare the time with points that stand in the world; the earliest one still to come is the answer, whether
    or not it matters. Where a question is about "this very pass", that is `now`: the next one may answer otherwise.
    """
    if not has_begun(world, now):
        return now  # its passes come closer together
    timing, service = world.timing, world.settings.service
    earliest = inf
    for event in world.service_events:
        if now < event.at + timing.event_repeat_s < earliest:
            earliest = event.at + timing.event_repeat_s
    for deployment in world.deployments:
        if now < deployment.next_start_at < earliest:
            earliest = deployment.next_start_at
    for target in world.targets.values():
        if target.draining_at is not None and now < target.draining_at < earliest:
            earliest = target.draining_at
    for task in world.tasks.values():
        if _is_of_this_pass(task, now):
            return now
        for at in _points(task, world, service.health_check_grace_period_s):
            if now < at < earliest:
                earliest = at
    return earliest


def _is_of_this_pass(task: Task, now: float) -> bool:
    if task.is_draining_due or (task.crashed and task.deregistered_at is not None and not task.drain_announced):
        return True
    return task.stop_decided_at == now or (task.deregistered_at is not None and task.deregistered_at >= now)


def _points(task: Task, world: World, grace_s: float) -> Iterator[float]:
    timing = world.timing
    if task.known is TaskStatus.RUNNING and task.started_at is not None:
        yield task.started_at + timing.healthy_bake_s
        yield task.started_at + grace_s
    if task.execution_stopped_at is not None:
        yield task.execution_stopped_at + timing.failure_report_s
    if task.stopped_at is not None:
        yield task.stopped_at + timing.stopped_task_retention_s
    if task.stop_code is StopCode.SPOT_INTERRUPTION and task.stop_decided_at is not None:
        yield signal_due_at(world, task, task.stop_decided_at)
    if task.protected_until is not None:
        yield task.protected_until
