"""Questions about a service's tasks, asked by every phase of the scheduler: who is there, healthy, missing."""

from __future__ import annotations

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import target_group as tg
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World


def has_begun(world: World, now: float) -> bool:
    """A new deployment is not acted on for its first 12 s or so (O1-O7); the passes in between serve the others."""
    return now >= begins_at(world)


def begins_at(world: World) -> float:
    return world.primary.created_at + world.timing.deployment_start_s


def is_healthy(world: World, task: Task, now: float, *, baked: bool) -> bool:
    """RUNNING, healthy in the target group and by its own check. API-ECS minimumHealthyPercent.

    `baked` asks for 40 s of RUNNING on top, which deployments wait for and steady-state replacements do not
    (O2 stops the old task 7..16 s after the new target is healthy). Documented for services without a load
    balancer and container check; behind one it is what the figures of O1, O4-O7 fit [observed].
    """
    if not task.is_wanted or task.known is not TaskStatus.RUNNING or task.unhealthy_reason:
        return False
    definition = world.definitions[task.definition]
    if definition.health_check is not None and not task.container_healthy:
        return False
    has_load_balancer = world.settings.service.has_load_balancer
    if has_load_balancer and target_state(world, task, now) is not tg.TargetState.HEALTHY:
        return False
    if not baked or (definition.health_check is not None and not has_load_balancer):
        return True
    return task.started_at is not None and now >= task.started_at + world.timing.healthy_bake_s


def target_state(world: World, task: Task, now: float) -> tg.TargetState | None:
    target = world.targets.get(task.address)
    return None if target is None else tg.state(target, now)[0]


def bakes(world: World, task: Task) -> bool:
    """New tasks bake while their deployment is in progress; tasks of a completed one have long done so."""
    return task.deployment_id == world.primary.id and world.primary.rollout_state is not d.RolloutState.COMPLETED


def is_present(world: World, task: Task, now: float) -> bool:
    """Counts as one of the deployment's tasks: wanted, or crashed and not yet accounted for.

    ECS replaces a crashed task one pass after it deregistered it (O2: 131.1 s -> 141.3 s).
    """
    if task.is_wanted:
        return True
    if not task.crashed or task.execution_stopped_at is None:
        return False
    if task.registered_at is not None:
        return task.deregistered_at is None or task.deregistered_at >= now
    return now < task.execution_stopped_at + world.timing.failure_report_s


def room(world: World) -> int:
    """How many more tasks `maximumPercent` allows now. Draining and stopping ones count. O3, O4, O8.

    Where sessions stay with their instance, an old one keeps nobody from starting a new one.
    """
    stays = world.settings.platform.sessions_stay
    counted = [x for x in world.tasks.values() if not (stays and _is_draining(x))]
    return ceiling(world) - sum(task.known is not TaskStatus.STOPPED for task in counted)


def _is_draining(task: Task) -> bool:
    return task.known is TaskStatus.DEACTIVATING


def ceiling(world: World) -> int:
    service = world.settings.service
    return d.maximum_total(service.desired_count, service.maximum_percent)


def floor(world: World) -> int:
    service = world.settings.service
    return d.minimum_healthy(service.desired_count, service.minimum_healthy_percent)


def wanted_of(world: World, *deployments: d.Deployment) -> list[Task]:
    if not deployments:
        return []
    ids = {x.id for x in deployments}
    return [task for task in world.tasks.values() if task.is_wanted and task.deployment_id in ids]


def replacement_of(world: World, task: Task) -> Task | None:
    """The live task that was started for this unhealthy one."""
    return next((x for x in world.tasks.values() if x.replaces == task.id and x.is_wanted), None)


def viable(world: World, deployment: d.Deployment, now: float) -> int:
    """Tasks this deployment can count on, if need be soon. Unhealthy ones are to be replaced."""
    return sum(is_present(world, task, now) and not task.unhealthy_reason for task in world.tasks_of(deployment))


def needed(world: World, deployment: d.Deployment, now: float) -> int:
    """How many tasks this deployment lacks.

    One that is being replaced is on its way out: it gets new tasks only as far as the floor needs them beside
    the PRIMARY's healthy ones and the viable ones of all that are being replaced (WN-2025-11: the running
    revision keeps the service available, whatever becomes of the new one). A FAILED PRIMARY replaces nothing.
    """
    lacking = deployment.desired_count - viable(world, deployment, now)
    if deployment.number == world.primary.number or lacking <= 0:
        return lacking
    if world.primary.rollout_state is d.RolloutState.FAILED:
        return lacking
    return min(lacking, short_of_floor(world, now))


def short_of_floor(world: World, now: float) -> int:
    """How many tasks the floor lacks beside the PRIMARY's healthy ones and all viable old ones."""
    held = sum(is_healthy(world, task, now, baked=False) for task in wanted_of(world, world.primary))
    held += sum(viable(world, x, now) for x in world.deployments[1:])
    return floor(world) - held


def able_zones(world: World) -> tuple[str, ...]:
    """Those that can place a task; all of them where none can, since nothing says what ECS then does."""
    zones = world.settings.service.availability_zones
    return tuple(zone for zone in zones if zone not in world.impaired_zones) or zones


def emit(message: str) -> c.Command:
    return c.EmitServiceEvent(message)


def say_again(world: World, message: str, now: float) -> list[c.Command]:
    """The message, unless it was said within six hours. ECS-DG/service-event-messages."""
    said = [event.at for event in world.service_events if event.message == message]
    if said and now < said[-1] + world.timing.event_repeat_s:
        return []
    return [emit(message)]
