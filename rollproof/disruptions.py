"""What is done to a service whose sessions are under way, and what holds when it is over.

A deployment replaces every task, or fails and is rolled back; a fault takes tasks away without one; an outage takes
away what the tasks lean on, and leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

from rollproof.core.deployment import RolloutState
from rollproof.core.errors import UsageError
from rollproof.core.events import ServiceUpdateRequested, TaskStopRequested
from rollproof.core.task import TaskStatus
from rollproof.core.world import World
from rollproof.orchestrator.stage import Stage
from rollproof.subject import CRASHES_AT_START, NEVER_LISTENS

IsOver = Callable[[World], bool]


class Disruption(StrEnum):
    """What is done to the service once every session is under way."""

    ROLLING = "rolling"  # UpdateService --force-new-deployment
    BAD_IMAGE = "bad-image"  # a new revision whose server never listens
    CRASHING_IMAGE = "crashing-image"  # a new revision whose process exits at start
    CRASH = "crash"  # SIGKILL to one task
    STOP_TASK = "stop-task"  # StopTask of one task
    SCALE_IN = "scale-in"  # UpdateService --desired-count: half of it, rounded up
    NONE = "none"  # nothing but the faults that are planned
    REDIS_RESTART = "redis-restart"  # Redis ends and starts again; it forgets all but what it keeps on disk


JUDGED_AS: Mapping[Disruption, str] = {
    Disruption.ROLLING: "deployment",
    Disruption.BAD_IMAGE: "rollback",
    Disruption.CRASHING_IMAGE: "rollback",
    Disruption.CRASH: "fault",
    Disruption.STOP_TASK: "fault",
    Disruption.SCALE_IN: "fault",
    Disruption.NONE: "fault",
    Disruption.REDIS_RESTART: "outage",
}
"""The kinds of rollproof.verdict.rollout.Disruption."""

BadCommands = Mapping[Disruption, tuple[str, ...]]
"""What a task of a new revision that is no good runs instead of the server."""

AS_PROCESSES: BadCommands = {
    Disruption.BAD_IMAGE: NEVER_LISTENS,
    Disruption.CRASHING_IMAGE: CRASHES_AT_START,
}


def check_possible(disruption: Disruption, *, desired_count: int, has_redis: bool) -> None:
    """Raises UsageError where the service has nothing that could be taken away."""
    if disruption is Disruption.REDIS_RESTART and not has_redis:
        raise UsageError("redis-restart: this rehearsal has no Redis", hint="a --strategy that keeps sessions in one")
    if disruption is Disruption.SCALE_IN and desired_count < 2:
        raise UsageError(
            f"scale-in: the desired count is {desired_count}", hint="--set desired_count=2, or more, leaves a task"
        )


async def disrupt(stage: Stage, disruption: Disruption, bad_commands: BadCommands = AS_PROCESSES) -> IsOver:
    """Do it, and return what holds when it is over. Raises as `check_possible`."""
    world = stage.orchestrator.world
    desired = world.settings.service.desired_count
    check_possible(disruption, desired_count=desired, has_redis=stage.redis is not None)
    match disruption:
        case Disruption.CRASH | Disruption.STOP_TASK:
            return await _take_a_task(stage, is_crash=disruption is Disruption.CRASH)
        case Disruption.SCALE_IN:
            return _scale_in(stage, -(-desired // 2))
        case Disruption.NONE:
            return lambda world: world.is_steady
        case Disruption.REDIS_RESTART:
            await stage.restart_redis()
            return lambda world: world.is_steady
    number = world.deployments_made
    stage.history.record("mark", name="deployment-triggered")
    stage.orchestrator.tell(_deployment(world, bad_commands.get(disruption)))
    return lambda world: world.deployments_made > number and _has_ended(world)


async def _take_a_task(stage: Stage, *, is_crash: bool) -> IsOver:
    """The oldest: of all it has most likely served every session that sticks to it."""
    orchestrator = stage.orchestrator
    victim = min((x for x in orchestrator.world.tasks.values() if x.is_wanted), key=lambda x: x.created_at).id
    if is_crash:
        await stage.kill_task(victim)
    else:
        stage.history.record("fault", name="stop-task", target=victim)
        orchestrator.tell(TaskStopRequested(victim, "rehearsal"))
    return lambda world: world.is_steady and _is_gone(world, victim)


def _scale_in(stage: Stage, wanted: int) -> IsOver:
    """ECS picks the tasks (core/service_stops.py). Over when those have drained and ended, too: ECS says steady
    before that, and a session that is still served by one has not lost it yet."""
    stage.history.record("fault", name="scale-in", target=f"desired count {wanted}")
    stage.orchestrator.tell(ServiceUpdateRequested(desired_count=wanted))
    return lambda world: world.is_steady and sum(x.known < TaskStatus.STOPPED for x in world.tasks.values()) == wanted


async def restore(stage: Stage, desired_count: int) -> None:
    """The desired count as it was before a scale-in: a stage may stay up. Returns once it is asked for."""
    orchestrator = stage.orchestrator
    if orchestrator.world.settings.service.desired_count != desired_count:
        orchestrator.tell(ServiceUpdateRequested(desired_count=desired_count))
        await orchestrator.wait_for(lambda world: world.settings.service.desired_count == desired_count)


def _deployment(world: World, bad_command: tuple[str, ...] | None) -> ServiceUpdateRequested:
    if bad_command is None:
        return ServiceUpdateRequested(force_new_deployment=True)
    now = world.settings.task_definition
    return ServiceUpdateRequested(task_definition=replace(now, revision=now.revision + 1, command=bad_command))


def _is_gone(world: World, task_id: str) -> bool:
    return task_id not in world.tasks or world.tasks[task_id].known is TaskStatus.STOPPED


def _has_ended(world: World) -> bool:
    """Completed, rolled back, or failed with nothing to roll back to."""
    failed = world.primary.rollout_state is RolloutState.FAILED
    return failed or (world.is_steady and len(world.deployments) == 1)
