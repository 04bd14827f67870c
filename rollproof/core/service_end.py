"""Phases of the scheduler that tell how it ends: stuck, retired, completed, steady."""

from __future__ import annotations

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import messages
from rollproof.core.service_census import (
    bakes,
    ceiling,
    emit,
    floor,
    has_begun,
    is_healthy,
    needed,
    room,
    say_again,
    viable,
    wanted_of,
)
from rollproof.core.task import TaskStatus
from rollproof.core.world import World


def say_stuck(world: World, now: float) -> list[c.Command]:
    """What can neither start nor stop says why: protected tasks (rollouts and scale-in), or percents without room."""
    primary, name = world.primary, world.settings.service.name
    if primary.rollout_state is not d.RolloutState.FAILED and _is_at_rest(world, now):
        is_over = viable(world, primary, now) > primary.desired_count
        for deployment in world.deployments if is_over else world.deployments[1:]:
            protected = sum(x.is_protected(now) for x in wanted_of(world, deployment))
            if protected:
                return say_again(world, messages.under_protection(name, deployment.id, protected), now)
    return say_again(world, messages.stuck(name), now) if is_stuck(world, now) else []


def is_stuck(world: World, now: float) -> bool:
    """The PRIMARY lacks tasks, there is no room, and nothing is on its way up or down that could make some.

    Nor is there room while old tasks crash and come back, where the percents leave no place above the floor:
    3 tasks at 75/125 are at least 3 and at most 3, and what is lost is the old revision's to replace.
    """
    is_rolling = world.primary.rollout_state is d.RolloutState.IN_PROGRESS and has_begun(world, now)
    if not is_rolling or needed(world, world.primary, now) <= 0:
        return False
    if room(world) <= 0 and _is_at_rest(world, now):
        return True
    old = [x for x in world.deployments[1:] if x.rollout_state is not d.RolloutState.FAILED and not x.start_failures]
    held = sum(x.desired_count for x in old) + len(wanted_of(world, world.primary))
    return ceiling(world) <= floor(world) and held >= ceiling(world)


def _is_at_rest(world: World, now: float) -> bool:
    """Every task is RUNNING or STOPPED, the new ones are healthy or given up, and none waits for its start."""
    if not has_begun(world, now):
        return False
    if any(x.known not in (TaskStatus.RUNNING, TaskStatus.STOPPED) for x in world.tasks.values()):
        return False
    if needed(world, world.primary, now) > 0 and room(world) > 0:
        return False
    fresh = wanted_of(world, world.primary)
    return all(x.unhealthy_reason or is_healthy(world, x, now, baked=bakes(world, x)) for x in fresh)


def retire(world: World, now: float) -> list[c.Command]:
    """An old deployment whose tasks are all gone, and which wants none, becomes INACTIVE and vanishes.

    Where sessions stay with their instance, those that drain are not waited for: they may live for hours.
    """
    stays = world.settings.platform.sessions_stay
    return [
        c.RetireDeployment(x.number)
        for x in world.deployments[1:]
        if (needed(world, x, now) <= 0 or x.rollout_state is d.RolloutState.FAILED)
        and all(task.known is TaskStatus.STOPPED or (stays and task.drain_announced) for task in world.tasks_of(x))
    ]


def complete(world: World, now: float) -> list[c.Command]:
    """COMPLETED when every task is healthy and the previous tasks are *removed*, not merely draining.

    API-ECS DeploymentEarlySuccessCriteria; O6: 410 s after draining began at a delay of 300 s.
    """
    primary, service = world.primary, world.settings.service
    if primary.rollout_state is not d.RolloutState.IN_PROGRESS or len(world.deployments) > 1:
        return []
    fresh = wanted_of(world, primary)
    healthy = sum(is_healthy(world, x, now, baked=True) for x in fresh)
    if not primary.desired_count == service.desired_count == len(fresh) == healthy:
        return []
    return [
        c.CompleteDeployment(primary.number),
        emit(messages.completed(service.name, primary.id)),
        emit(messages.steady(service.name)),
        c.SetSteady(True),
    ]


def settle(world: World, now: float) -> list[c.Command]:
    """Steady state outside deployments: said when reached, and again every six hours.

    Reached while a replaced task is still draining (O2), one pass after its draining began.
    """
    service = world.settings.service
    steady = _is_steady(world, now)
    if not steady:
        return [c.SetSteady(False)] if world.is_steady else []
    if not world.is_steady:
        return [emit(messages.steady(service.name)), c.SetSteady(True)]
    return say_again(world, messages.steady(service.name), now)


def _is_steady(world: World, now: float) -> bool:
    primary, service = world.primary, world.settings.service
    if primary.rollout_state is not d.RolloutState.COMPLETED or len(world.deployments) > 1:
        return False
    fresh = wanted_of(world, primary)
    if len(fresh) != service.desired_count or not all(is_healthy(world, x, now, baked=False) for x in fresh):
        return False
    leaving = [x for x in world.tasks.values() if not x.is_wanted]
    return not any(x.is_draining_due or (x.deregistered_at is not None and x.deregistered_at >= now) for x in leaving)
