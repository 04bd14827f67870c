"""The whole state of one service behind one target group, and how facts and orders change it.

`apply` folds one event or issued command into a new world; it decides nothing and mutates nothing. Container
events about a task or target that is gone are late, not wrong: they change nothing. An order that names one is
ours to get right: it raises KeyError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import events as e
from rollproof.core import messages, names
from rollproof.core import target_group as tg
from rollproof.core import task as t
from rollproof.core.errors import IllegalTransition
from rollproof.core.records import put, replace, without
from rollproof.core.settings import Settings, TaskDefinition
from rollproof.core.timing import Timing

MAX_SERVICE_EVENTS = 100
"""DescribeServices keeps that many. ECS-DG/service-event-messages."""


@dataclass(frozen=True)
class ServiceEvent:
    at: float
    message: str


@dataclass(frozen=True)
class World:
    """`settings` and `timing` are already scaled; `deployments` newest first, without INACTIVE ones."""

    settings: Settings
    timing: Timing
    seed: int
    next_tick_at: float
    definitions: Mapping[str, TaskDefinition]
    deployments: tuple[d.Deployment, ...]
    tasks: Mapping[str, t.Task] = field(default_factory=dict)
    targets: Mapping[str, tg.Target] = field(default_factory=dict)
    last_completed: d.Deployment | None = None
    tasks_made: int = 0
    deployments_made: int = 1
    is_steady: bool = False
    impaired_zones: tuple[str, ...] = ()  # can place no task
    node_lag_s: Mapping[str, float] = field(default_factory=dict)  # node -> how much later it learns of draining
    service_events: tuple[ServiceEvent, ...] = ()

    @property
    def primary(self) -> d.Deployment:
        return self.deployments[0]

    @property
    def rules(self) -> tg.Rules:
        settings = self.settings
        return tg.Rules(
            settings.target_group,
            settings.behaviour,
            self.timing,
            self.seed,
            settings.platform,
            settings.service.availability_zones,
            self.node_lag_s,
        )

    def deployment(self, number: str) -> d.Deployment:
        return next(x for x in self.deployments if x.number == number)

    def tasks_of(self, deployment: d.Deployment) -> list[t.Task]:
        return [task for task in self.tasks.values() if task.deployment_id == deployment.id]


def create_world(settings: Settings, timing: Timing, seed: int, now: float) -> World:
    """CreateService: one PRIMARY deployment, nothing started yet."""
    definition = settings.task_definition
    return World(
        settings=settings,
        timing=timing,
        seed=seed,
        next_tick_at=now + timing.deployment_start_s,
        definitions={definition.name: definition},
        deployments=(_new_deployment(seed, 1, definition.name, now),),
    )


def _new_deployment(seed: int, number: int, definition: str, now: float) -> d.Deployment:
    return d.Deployment(
        number=names.deployment_number(seed, number),
        revision=names.deployment_number(seed, -number),
        definition=definition,
        created_at=now,
        updated_at=now,
    )


def apply(world: World, happened: e.Event | c.Command, now: float) -> World:
    """The world after `happened`. Raises IllegalTransition where a table forbids it; `world` stays as it was."""
    match happened:
        case e.ServiceUpdateRequested():
            return _update_service(world, happened, now)
        case e.TaskStopRequested():
            return _stop_requested(world, happened, now)
        case e.SpotInterrupted() | e.ZoneAvailabilityChanged() | e.NodeLagChanged():
            return _apply_infrastructure_event(world, happened, now)
        case e.HealthCheckAnswered(target_id=target_id):
            if target_id not in world.targets:
                return world
            target = tg.check_answered(world.targets[target_id], happened, now, world.rules)
            return _with_target(world, target)
        case (
            e.ContainerStarted()
            | e.ContainerStartFailed()
            | e.ContainerExited()
            | e.ContainerHealthChanged()
            | e.TaskProtectionChanged()
        ):
            return _apply_container_event(world, happened, now)
        case c.RegisterTarget() | c.DeregisterTarget() | c.AnnounceDraining() | c.RemoveTarget() | c.CheckHealth():
            return _apply_target_command(world, happened, now)
        case (
            c.SetDeploymentDesired()
            | c.CompleteDeployment()
            | c.FailDeployment()
            | c.RollBack()
            | c.RetireDeployment()
            | c.SetSteady()
            | c.EmitServiceEvent()
            | c.ScheduleTick()
        ):
            return _apply_service_command(world, happened, now)
        case _:
            return _apply_task_command(world, happened, now)


# --- requests ------------------------------------------------------------------------------------------


def _update_service(world: World, asked: e.ServiceUpdateRequested, now: float) -> World:
    """A new deployment for another task definition or by force; counts and percents just change (API-ECS)."""
    service = world.settings.service
    changed = {
        "desired_count": asked.desired_count,
        "minimum_healthy_percent": asked.minimum_healthy_percent,
        "maximum_percent": asked.maximum_percent,
        "health_check_grace_period_s": asked.health_check_grace_period_s,
    }
    updated = replace(service, **{k: v for k, v in changed.items() if v is not None})
    world = replace(world, settings=replace(world.settings, service=updated))
    added = updated.desired_count - service.desired_count
    world = replace(_scale_out_all_revisions(world, added), is_steady=world.is_steady and added == 0)
    definition = asked.task_definition
    if definition in (None, world.settings.task_definition) and not asked.force_new_deployment:
        return world
    if definition is not None:
        world = replace(
            world,
            definitions={**world.definitions, definition.name: definition},
            settings=replace(world.settings, task_definition=definition),
        )
    number = world.deployments_made + 1
    name = world.settings.task_definition.name
    replaced = d.with_status(world.primary, d.DeploymentStatus.ACTIVE, now)
    return replace(
        world,
        deployments=(_new_deployment(world.seed, number, name, now), replaced, *world.deployments[1:]),
        deployments_made=number,
        next_tick_at=min(world.next_tick_at, now + world.timing.deployment_start_s),
        is_steady=False,
    )


def _scale_out_all_revisions(world: World, added: int) -> World:
    """Scale-out during a deployment applies to the revision being replaced too. WN-2025-11."""
    if added <= 0 or len(world.deployments) < 2:
        return world
    replaced = world.deployments[1]
    return _with_deployment(world, replace(replaced, desired_count=replaced.desired_count + added))


def _stop_requested(world: World, asked: e.TaskStopRequested, now: float) -> World:
    task = world.tasks.get(asked.task_id)
    if task is None:
        return world
    reason = f"Task stopped by user: {asked.reason}" if asked.reason else "Task stopped by user"
    drains = world.settings.behaviour.stop_task_drains
    return _with_task(world, t.decide_stop(task, t.StopCode.USER_INITIATED, reason, drains=drains, now=now))


# --- what becomes of AWS's own machines --------------------------------------------------------------------


def _apply_infrastructure_event(world: World, happened: e.InfrastructureEvent, now: float) -> World:
    match happened:
        case e.SpotInterrupted(task_id=task_id):
            task = world.tasks.get(task_id)
            if task is None:
                return world
            code, drains = t.StopCode.SPOT_INTERRUPTION, world.settings.behaviour.spot_drains
            return _with_task(world, t.decide_stop(task, code, messages.SPOT_REASON, drains=drains, now=now))
        case e.ZoneAvailabilityChanged(zone=zone, is_available=is_available):
            others = {x for x in world.impaired_zones if x != zone}
            return replace(world, impaired_zones=tuple(sorted(others if is_available else others | {zone})))
        case e.NodeLagChanged(node=node, lag_s=lag_s):
            others_lag = {k: v for k, v in world.node_lag_s.items() if k != node}
            return replace(world, node_lag_s=others_lag | ({node: lag_s} if lag_s > 0 else {}))
        case _:
            assert_never(happened)


# --- what runtimes report --------------------------------------------------------------------------------


def _apply_container_event(world: World, happened: e.ContainerEvent, now: float) -> World:
    task = world.tasks.get(happened.task_id)
    if task is None:
        return world
    match happened:
        case e.ContainerStarted(address=address):
            return world if task.address else _with_task(world, replace(task, address=address))
        case e.ContainerStartFailed(reason=reason):
            code = t.StopCode.TASK_FAILED_TO_START
            return _with_task(world, t.container_ended(task, None, reason, code, now))
        case e.ContainerExited(exit_code=exit_code, reason=reason):
            code = t.StopCode.ESSENTIAL_CONTAINER_EXITED
            reason = reason or "Essential container in task exited"
            return _with_task(world, t.container_ended(task, exit_code, reason, code, now))
        case e.ContainerHealthChanged(healthy=healthy):
            return _with_task(world, replace(task, container_healthy=healthy))
        case e.TaskProtectionChanged(enabled=enabled, expires_in_minutes=minutes):
            until = now + minutes * 60.0 if enabled else None
            return _with_task(world, replace(task, protected_until=until))
        case _:
            assert_never(happened)


# --- orders -------------------------------------------------------------------------------------------------


TaskCommand = (
    c.StartTask
    | c.StopTask
    | c.AdvanceTask
    | c.NotePullStarted
    | c.JudgeUnhealthy
    | c.NoteHealthy
    | c.CountFailure
    | c.StartContainer
    | c.SignalContainer
    | c.KillContainer
    | c.RemoveContainer
)


def _apply_task_command(world: World, order: TaskCommand, now: float) -> World:
    if isinstance(order, c.StartTask):
        deployment = world.deployment(order.deployment_number)
        task = t.Task(
            id=order.task_id,
            deployment_id=deployment.id,
            definition=deployment.definition,
            availability_zone=order.availability_zone,
            created_at=now,
            replaces=order.replaces,
            rebalances=order.rebalances,
        )
        return replace(_with_task(world, task), tasks_made=order.number)
    task = world.tasks[order.task_id]
    match order:
        case c.StopTask(stop_code=code, reason=reason):
            stopped = _with_task(world, t.decide_stop(task, code, reason, drains=True, now=now))
            if not order.scales_in:
                return stopped
            deployment = _deployment_of(world, task)
            return _with_deployment(stopped, replace(deployment, desired_count=max(0, deployment.desired_count - 1)))
        case c.AdvanceTask(to=to):
            moved = t.move(task, to, now)
            world = _with_task(world, moved)
            if to is t.TaskStatus.RUNNING:
                return _with_deployment(world, replace(_deployment_of(world, task), has_run=True, start_failures=0))
            return world
        case c.NotePullStarted():
            return _with_task(world, replace(task, pull_started_at=now))
        case c.JudgeUnhealthy(reason=reason):
            return _with_task(world, replace(task, unhealthy_reason=reason))
        case c.NoteHealthy():
            return _forgive_failures(_with_task(world, replace(task, was_healthy=True)), task)
        case c.CountFailure():
            return _count_failure(world, task, now)
        case c.StartContainer():
            return _with_task(world, t.move(task, t.TaskStatus.ACTIVATING, now))
        case c.SignalContainer():
            stopping = task if task.known is t.TaskStatus.STOPPING else t.move(task, t.TaskStatus.STOPPING, now)
            return _with_task(world, replace(stopping, signalled=True))
        case c.KillContainer():
            return _with_task(world, replace(task, killed_at=now))
        case c.RemoveContainer():
            return _with_task(world, replace(task, container_removed=True))
        case _:
            assert_never(order)


def _forgive_failures(world: World, task: t.Task) -> World:
    if not world.settings.service.circuit_breaker.reset_on_healthy_task:
        return world
    return _with_deployment(world, replace(_deployment_of(world, task), failed_tasks=0))


def _count_failure(world: World, task: t.Task, now: float) -> World:
    """failedTasks + 1; a task that never reached RUNNING also slows the next start down.

    The breaker has two stages: tasks that fail to start count until one is RUNNING, failed health checks after
    that (ECS-DG/deployment-circuit-breaker). A deployment that has ended is not evaluated any more (API-ECS).
    """
    deployment, never_ran = _deployment_of(world, task), task.started_at is None
    counts = deployment.rollout_state is d.RolloutState.IN_PROGRESS and not (never_ran and deployment.has_run)
    starts = deployment.start_failures + never_ran
    pause = d.throttle_delay_s(starts, world.timing.throttle_base_s, world.timing.throttle_max_s)
    counted = replace(
        deployment,
        failed_tasks=deployment.failed_tasks + counts,
        start_failures=starts,
        next_start_at=now + pause if never_ran else deployment.next_start_at,
    )
    return _with_deployment(_with_task(world, replace(task, failure_counted=True)), counted)


TargetCommand = c.RegisterTarget | c.DeregisterTarget | c.AnnounceDraining | c.RemoveTarget | c.CheckHealth


def _apply_target_command(world: World, order: TargetCommand, now: float) -> World:
    match order:
        case c.RegisterTarget(task_id=task_id):
            task = replace(world.tasks[task_id], registered_at=now)
            target = tg.register(task.address, task.id, now, world.rules, task.availability_zone)
            return _with_target(_with_task(world, task), target)
        case c.DeregisterTarget(task_id=task_id):
            task = replace(world.tasks[task_id], deregistered_at=now)
            target = tg.deregister(world.targets[task.address], now, world.rules)
            return _with_target(_with_task(world, task), target)
        case c.AnnounceDraining(task_id=task_id):
            return _with_task(world, replace(world.tasks[task_id], drain_announced=True))
        case c.RemoveTarget(target_id=target_id):
            return replace(world, targets=without(world.targets, target_id))
        case c.CheckHealth(node=node, target_id=target_id):
            return _with_target(world, tg.check_sent(world.targets[target_id], node, now, world.rules))
        case _:
            assert_never(order)


ServiceCommand = (
    c.SetDeploymentDesired
    | c.CompleteDeployment
    | c.FailDeployment
    | c.RollBack
    | c.RetireDeployment
    | c.SetSteady
    | c.EmitServiceEvent
    | c.ScheduleTick
)


def _apply_service_command(world: World, order: ServiceCommand, now: float) -> World:
    match order:
        case c.SetDeploymentDesired(deployment_number=number, desired_count=count):
            return _with_deployment(world, replace(world.deployment(number), desired_count=count, updated_at=now))
        case c.CompleteDeployment(deployment_number=number):
            done = d.with_rollout_state(world.deployment(number), d.RolloutState.COMPLETED, now)
            return replace(_with_deployment(world, done), last_completed=done)
        case c.FailDeployment(deployment_number=number):
            failed = d.with_rollout_state(world.deployment(number), d.RolloutState.FAILED, now)
            return _with_deployment(world, failed)
        case c.RollBack():
            return _roll_back(world, now)
        case c.RetireDeployment(deployment_number=number):
            d.with_status(world.deployment(number), d.DeploymentStatus.INACTIVE, now)
            return replace(world, deployments=tuple(x for x in world.deployments if x.number != number))
        case c.SetSteady(is_steady=is_steady):
            return replace(world, is_steady=is_steady)
        case c.EmitServiceEvent(message=message):
            last = world.service_events[-1].at if world.service_events else -1.0
            event = ServiceEvent(now if now > last else last + 0.001, message)  # 1 ms apart: O6, O13
            return replace(world, service_events=(*world.service_events, event)[-MAX_SERVICE_EVENTS:])
        case c.ScheduleTick(at=at):
            oldest = now - world.timing.stopped_task_retention_s
            tasks = world.tasks
            for task_id in [k for k, v in tasks.items() if _is_forgotten(v, oldest)]:
                tasks = without(tasks, task_id)
            return replace(world, next_tick_at=at, tasks=tasks)
        case _:
            assert_never(order)


def _is_forgotten(task: t.Task, oldest: float) -> bool:
    """STOPPED before `oldest`, and nothing of it left: a crashed task's target may drain for an hour after it."""
    return task.stopped_at is not None and task.stopped_at <= oldest and task.container_removed


def _roll_back(world: World, now: float) -> World:
    """The last completed deployment is PRIMARY again, under its own id (O6). It may have vanished already."""
    last = world.last_completed
    if last is None:
        raise IllegalTransition("service", "no completed deployment", "RollBack")
    number = last.number
    vanished = replace(last, status=d.DeploymentStatus.INACTIVE)
    back = next((x for x in world.deployments if x.number == number), vanished)
    back = d.with_status(back, d.DeploymentStatus.PRIMARY, now)
    if back.rollout_state is not d.RolloutState.IN_PROGRESS:
        back = d.with_rollout_state(back, d.RolloutState.IN_PROGRESS, now)
    back = replace(
        back,
        desired_count=world.settings.service.desired_count,
        is_rolling_back=True,
        failed_tasks=0,
        start_failures=0,
    )
    failed = d.with_status(world.primary, d.DeploymentStatus.ACTIVE, now)
    others = tuple(x for x in world.deployments[1:] if x.number != number)
    return replace(
        world,
        deployments=(back, replace(failed, desired_count=0), *others),
        settings=replace(world.settings, task_definition=world.definitions[back.definition]),
    )


def _deployment_of(world: World, task: t.Task) -> d.Deployment:
    return world.deployment(task.deployment_id.removeprefix("ecs-svc/"))


def _with_task(world: World, task: t.Task) -> World:
    return replace(world, tasks=put(world.tasks, task.id, task))


def _with_target(world: World, target: tg.Target) -> World:
    return replace(world, targets=put(world.targets, target.id, target))


def _with_deployment(world: World, deployment: d.Deployment) -> World:
    changed = tuple(deployment if x.number == deployment.number else x for x in world.deployments)
    return replace(world, deployments=changed)
