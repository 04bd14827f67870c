"""What a service looks like from outside: the facts of DescribeServices, DescribeTasks and DescribeTargetHealth.

Plain values for status displays and later for the AWS wire; names here are ours, casing is the wire's business.
"""

from __future__ import annotations

from typing import Any

from rollproof.core import target_group as tg
from rollproof.core.deployment import Deployment, failure_threshold, monitor_status
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World


def describe(world: World, now: float) -> dict[str, Any]:
    """Service, deployments (newest first), tasks, targets and events (newest first). Times are stage seconds."""
    service = world.settings.service
    return {
        "service": service.name,
        "cluster": service.cluster,
        "now": now,
        "desired_count": service.desired_count,
        "running_count": sum(x.known is TaskStatus.RUNNING for x in world.tasks.values()),
        "pending_count": sum(x.known < TaskStatus.RUNNING for x in world.tasks.values()),
        "is_steady": world.is_steady,
        "next_tick_at": world.next_tick_at,
        "deployments": [deployment_facts(world, x) for x in world.deployments],
        "tasks": [task_facts(x) for x in world.tasks.values()],
        "targets": [target_facts(world, x, now) for x in world.targets.values()],
        "events": [{"at": x.at, "message": x.message} for x in reversed(world.service_events)],
    }


def deployment_facts(world: World, deployment: Deployment) -> dict[str, Any]:
    """DEACTIVATING tasks are not counted as running (CR#2171 [observed], for services [inferred])."""
    tasks, breaker = world.tasks_of(deployment), world.settings.service.circuit_breaker
    return {
        "id": deployment.id,
        "status": deployment.status.value,
        "rollout_state": deployment.rollout_state.value,
        "rollout_state_reason": deployment.rollout_state_reason,
        "task_definition": deployment.definition,
        "desired": deployment.desired_count,
        "running": sum(x.known is TaskStatus.RUNNING for x in tasks),
        "pending": sum(x.known < TaskStatus.RUNNING for x in tasks),
        "failed_tasks": deployment.failed_tasks,
        "circuit_breaker": monitor_status(deployment, breaker).value,
        "failure_threshold": failure_threshold(breaker, world.settings.service.desired_count),
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
    }


def task_facts(task: Task) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "task_id": task.id,
        "known": task.known.name,
        "desired": task.desired.value,
        "deployment": task.deployment_id,
        "task_definition": task.definition,
        "availability_zone": task.availability_zone,
        "created_at": task.created_at,
    }
    optional = {
        "address": task.address or None,
        "started_at": task.started_at,
        "stopping_at": task.stopping_at,
        "stopped_at": task.stopped_at,
        "stop_code": task.stop_code,
        "stopped_reason": task.stopped_reason or None,
        "exit_code": task.exit_code,
        "protected_until": task.protected_until,
    }
    return facts | {name: value for name, value in optional.items() if value is not None}


def target_facts(world: World, target: tg.Target, now: float) -> dict[str, Any]:
    """`nodes` is what each ALB node believes; `state` is what the API shows."""
    rules = world.rules
    state, reason, description = tg.state(target, now)
    facts: dict[str, Any] = {
        "target_id": target.id,
        "task_id": target.task_id,
        "state": state.value,
        "nodes": {node: tg.node_state(target, node, now, rules).value for node in target.nodes},
    }
    if reason:
        facts |= {"reason": reason, "description": description}
    if state is tg.TargetState.DRAINING:
        facts["draining_until"] = tg.drained_at(target, rules)
    return facts
