"""Phases of the scheduler that take tasks down: the decision, the deregistration, the signal.

Three steps, three passes: the decision to stop, ten seconds later the deregistration, and only when the target is
gone, after the full delay, the stop signal.
"""

from __future__ import annotations

from collections import Counter, deque

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import messages, names
from rollproof.core.service_census import (
    bakes,
    emit,
    floor,
    has_begun,
    is_healthy,
    replacement_of,
    room,
    wanted_of,
)
from rollproof.core.service_health import _fails_checks
from rollproof.core.spot import is_signal_due
from rollproof.core.task import StopCode, Task, TaskStatus
from rollproof.core.world import World


def deregister(world: World, now: float) -> list[c.Command]:
    """Targets of tasks that an earlier pass stopped, or that crashed, leave the target group.

    The decision is about ten seconds old by then (O1-O5, O13: 9.1..10.3 s). For a crash, draining is
    announced one pass later (O2: 131.1 s, 140.5 s).
    """
    service = world.settings.service
    due = [task for task in world.tasks.values() if task.is_draining_due and _is_report_due(world, task, now)]
    found: list[c.Command] = [c.DeregisterTarget(task.id) for task in due]
    if due:
        arn = names.target_group_arn(service, world.settings.target_group)
        found.append(emit(messages.deregistered(service.name, len(due), arn)))
    announced = [task for task in due if not task.crashed]
    announced += [
        task
        for task in world.tasks.values()
        if task.crashed and not task.drain_announced and task.deregistered_at is not None and task.deregistered_at < now
    ]
    found += [c.AnnounceDraining(task.id) for task in announced]
    for deployment_id, count in Counter(task.deployment_id for task in announced).items():
        found.append(emit(messages.draining(service.name, deployment_id, count)))
    return found


def _is_report_due(world: World, task: Task, now: float) -> bool:
    if task.crashed:
        return (
            task.execution_stopped_at is not None and now >= task.execution_stopped_at + world.timing.failure_report_s
        )
    return task.stop_decided_at is not None and task.stop_decided_at < now


def signal(world: World, now: float) -> list[c.Command]:
    """The stop signal comes when the target is gone, never before: after the *full* delay, however idle.

    ECS-DG-now/load-balancer-connection-draining: ECS waits for UNUSED. O1: SIGTERM on the next pass. A Spot
    interruption does not wait for longer than its warning allows (spot.py).
    """
    return [
        c.SignalContainer(task.id)
        for task in world.tasks.values()
        if task.known is TaskStatus.DEACTIVATING
        and task.address
        and not task.is_draining_due
        and (task.address not in world.targets or is_signal_due(world, task, now))
    ]


def stop_unhealthy(world: World, now: float) -> list[c.Command]:
    """An unhealthy task goes when its replacement is healthy, or fails its checks too, in grace or not (CR#2714).

    Where the maximum leaves no room for a replacement, unhealthy tasks are stopped one by one as long as the
    running ones stay at the floor (API-ECS minimumHealthyPercent). Those of a failed deployment go at once, and
    so do those that healthy ones have made superfluous (the desired count was lowered meanwhile).
    """
    picks: list[Task] = []
    if not any(x.unhealthy_reason for x in world.tasks.values()):
        return []
    running = sum(x.known is TaskStatus.RUNNING and x.is_wanted for x in world.tasks.values())
    may_make_room = room(world) <= 0 and running - 1 >= floor(world)
    may_make_room &= not any(x.stop_decided_at == now for x in world.tasks.values())
    for deployment in world.deployments:
        wanted = wanted_of(world, deployment)
        healthy = sum(is_healthy(world, x, now, baked=False) for x in wanted)
        is_complete = deployment.number == world.primary.number and healthy >= deployment.desired_count
        for task in wanted:
            if not task.unhealthy_reason:
                continue
            replacement = replacement_of(world, task)
            if deployment.rollout_state is d.RolloutState.FAILED or is_complete:
                picks.append(task)
            elif replacement is not None:
                if _fails_checks(world, replacement, now) or is_healthy(world, replacement, now, baked=False):
                    picks.append(task)
            elif may_make_room:
                picks.append(task)
                may_make_room = False
    return _stops(world, [(task, task.unhealthy_reason) for task in picks])


def roll(world: World, now: float) -> list[c.Command]:
    """Old tasks are stopped as far as the floor allows, when no new one is still on its way to be healthy.

    Surplus tasks of the PRIMARY deployment (the desired count was lowered) go the same way. Protected tasks
    stay, and hold the deployment up (ECS-DG/task-scale-in-protection).
    """
    if world.primary.rollout_state is d.RolloutState.FAILED or not has_begun(world, now):
        return []
    fresh, old = wanted_of(world, world.primary), wanted_of(world, *world.deployments[1:])
    if not old and len(fresh) <= world.primary.desired_count:
        return []
    healthy = {x.id for x in fresh + old if is_healthy(world, x, now, baked=bakes(world, x))}
    picks = _surplus(world, fresh, healthy, now)
    if all(x.id in healthy or x.unhealthy_reason for x in fresh):
        spare = len(healthy.difference(x.id for x in picks)) - floor(world)
        picks += _replaced(old, healthy, spare, now)
    return _stops(world, [(task, messages.scaling_reason(task.deployment_id)) for task in picks])


def _replaced(old: list[Task], healthy: set[str], spare: int, now: float) -> list[Task]:
    """Of the old tasks: `spare` healthy ones, and all others if the floor holds without them.

    What is not healthy yet, or no more, may be all that still answers: while health is short it stays.
    """
    free = [x for x in old if not x.is_protected(now)]
    picks = [x for x in free if x.id not in healthy] if spare >= 0 else []
    return picks + _by_zone([x for x in free if x.id in healthy], spare)


def _surplus(world: World, fresh: list[Task], healthy: set[str], now: float) -> list[Task]:
    """PRIMARY tasks above its desired count, never protected ones: those not yet healthy first, the newest first.

    A task that is to take another zone's place is none of them before it is healthy.
    """
    viable = [x for x in fresh if not x.unhealthy_reason and (x.id in healthy or not x.rebalances)]
    free = [x for x in reversed(viable) if not x.is_protected(now)]
    excess = len(viable) - world.primary.desired_count
    starting = [x for x in free if x.id not in healthy][: max(0, excess)]
    spare = min(excess - len(starting), len(healthy) - floor(world))
    return starting + _by_zone([x for x in free if x.id in healthy], spare, among=viable)


def _by_zone(tasks: list[Task], count: int, among: list[Task] | None = None) -> list[Task]:
    """`count` of `tasks` at most, each from the zone that then holds most of `among`: zones stay balanced (API-ECS).

    Six tasks in zones a a a b b c, three to go: a, a, b; one stays in each.
    """
    held = Counter(x.availability_zone for x in among or tasks)
    waiting: dict[str, deque[tuple[int, Task]]] = {}
    for place, task in enumerate(tasks):
        waiting.setdefault(task.availability_zone, deque()).append((place, task))
    picks: list[Task] = []
    while len(picks) < min(count, len(tasks)):
        fullest = max(waiting, key=lambda zone: (held[zone], -waiting[zone][0][0]))
        picks.append(waiting[fullest].popleft()[1])
        held[fullest] -= 1
        if not waiting[fullest]:
            del waiting[fullest]
    return picks


def _stops(world: World, picks: list[tuple[Task, str]]) -> list[c.Command]:
    """Stops each task for its reason; a deployment that is being replaced does not want it back."""
    found: list[c.Command] = []
    for task, reason in picks:
        scales_in = task.deployment_id != world.primary.id and reason != task.unhealthy_reason
        found.append(c.StopTask(task.id, StopCode.SERVICE_SCHEDULER_INITIATED, reason, scales_in))
    name = world.settings.service.name
    running = [x.id for x, _ in picks if x.has_container]
    if running:
        found.append(emit(messages.stopped(name, running)))
    if len(picks) > len(running):
        found.append(emit(messages.stopped_pending(name, len(picks) - len(running))))
    return found
