"""Phases of the scheduler that judge: unhealthy tasks, failures that count, the circuit breaker."""

from __future__ import annotations

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import messages, names
from rollproof.core import target_group as tg
from rollproof.core.service_census import emit, is_healthy, target_state
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World


def judge(world: World, now: float) -> list[c.Command]:
    """RUNNING tasks that fail a check outside their grace period are to be replaced.

    The grace period counts from when a task has first started and covers the ELB's and the container's
    check alike. API-ECS healthCheckGracePeriodSeconds.
    """
    service, found = world.settings.service, list[c.Command]()
    for task in world.tasks.values():
        if not task.is_wanted or task.started_at is None or task.unhealthy_reason:
            continue
        if now < task.started_at + service.health_check_grace_period_s or not _fails_checks(world, task, now):
            continue
        target = world.targets.get(task.address)
        if target is not None and tg.state(target, now)[0] is tg.TargetState.UNHEALTHY:
            arn = names.target_group_arn(service, world.settings.target_group)
            port, description = world.definitions[task.definition].container_port, tg.state(target, now)[2]
            found.append(c.JudgeUnhealthy(task.id, messages.elb_health_reason(arn)))
            found.append(emit(messages.unhealthy_target(service.name, task.id, port, arn, description)))
        else:
            found.append(c.JudgeUnhealthy(task.id, messages.CONTAINER_HEALTH_REASON))
            found.append(emit(messages.unhealthy_container(service.name, task.id)))
    return found


def _fails_checks(world: World, task: Task, now: float) -> bool:
    """A RUNNING task that the target group or its own check calls unhealthy, in its grace period or not."""
    if task.known is not TaskStatus.RUNNING:
        return False
    return task.container_healthy is False or target_state(world, task, now) is tg.TargetState.UNHEALTHY


def count(world: World, now: float) -> list[c.Command]:
    """failedTasks: tasks that never reached RUNNING, and tasks that failed a health check.

    API-ECS Deployment.failedTasks. One that was RUNNING and then died by itself does not count, which is
    why the breaker does not see crash loops. A healthy task forgives what was counted before it.
    """
    found: list[c.Command] = []
    live = {x.id for x in world.deployments}
    for task in world.tasks.values():
        if task.deployment_id not in live:
            continue
        never_ran = task.crashed and task.started_at is None
        if (never_ran or task.unhealthy_reason) and not task.failure_counted:
            found.append(c.CountFailure(task.id))
        elif not task.was_healthy and is_healthy(world, task, now, baked=False):
            found.append(c.NoteHealthy(task.id))
    return found


def break_circuit(world: World, now: float) -> list[c.Command]:
    """Enough failures in a row fail the deployment and, with rollback, bring the last completed one back."""
    service, primary = world.settings.service, world.primary
    breaker = service.circuit_breaker
    if not breaker.enable or primary.rollout_state is not d.RolloutState.IN_PROGRESS or primary.is_rolling_back:
        return []
    if primary.failed_tasks < d.failure_threshold(breaker, service.desired_count):
        return []
    found = [c.FailDeployment(primary.number), emit(messages.failed(service.name, primary.id))]
    if breaker.rollback and world.last_completed is not None:
        found += [emit(messages.rolling_back(service.name, world.last_completed.id)), c.RollBack()]
    return found
