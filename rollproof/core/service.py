"""The ECS service scheduler: one pass about every ten seconds, one kind of step at a time.

A pass is a list of phases. `decide_service` returns the commands of the first phase that has any; the loop
applies them and asks again at the same `now`, so that each phase sees what the earlier ones did (one step,
then re-observe). When none has anything left to do, the pass ends and the next one is scheduled.

What a rolling deployment does follows from four numbers, with the tasks of all deployments taken together:
`total` (not yet STOPPED: a draining task counts, O3 O4 O8), `healthy`, the ceiling `maximum_total` and the
floor `minimum_healthy`. Room below the ceiling starts tasks; health above the floor stops old ones, but only
when no new task is still on its way (O6, O7: old tasks are stopped together, not one by one).

Worked example, 2 tasks at 100/200: floor 2, ceiling 4. Pass 1 starts 2 (total 4). Once both are healthy,
healthy is 4 and both old ones are stopped at once. At 50/100 with 5 tasks: floor 3, ceiling 5; no room, so 2
old ones stop first, 2 new ones start when those are gone, then 2 and 1 (O8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import messages, names
from rollproof.core import target_group as tg
from rollproof.core.task import StopCode, Task, TaskStatus
from rollproof.core.world import World


def decide_service(world: World, now: float) -> list[c.Command]:
    """Commands of this pass's next phase; nothing while no pass is due."""
    if now < world.next_tick_at:
        return []
    for phase in PHASES:
        found = phase(world, now)
        if found:
            return found
    tick_s = world.timing.scheduler_tick_s
    following = world.next_tick_at + tick_s
    if following <= now:
        following = now + tick_s
    return [c.ScheduleTick(following if has_begun(world, now) else min(following, _begins_at(world)))]


def has_begun(world: World, now: float) -> bool:
    """A new deployment is not acted on for its first 12 s or so (O1-O7); the passes in between serve the others."""
    return now >= _begins_at(world)


def _begins_at(world: World) -> float:
    return world.primary.created_at + world.timing.deployment_start_s


# --- questions about tasks -------------------------------------------------------------------------------


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
    if has_load_balancer and _target_state(world, task, now) is not tg.TargetState.HEALTHY:
        return False
    if not baked or (definition.health_check is not None and not has_load_balancer):
        return True
    return task.started_at is not None and now >= task.started_at + world.timing.healthy_bake_s


def _target_state(world: World, task: Task, now: float) -> tg.TargetState | None:
    target = world.targets.get(task.address)
    return None if target is None else tg.state(target, now)[0]


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
    """How many more tasks `maximumPercent` allows now. Draining and stopping ones count. O3, O4, O8."""
    return ceiling(world) - sum(task.known is not TaskStatus.STOPPED for task in world.tasks.values())


def ceiling(world: World) -> int:
    service = world.settings.service
    return d.maximum_total(service.desired_count, service.maximum_percent)


def floor(world: World) -> int:
    service = world.settings.service
    return d.minimum_healthy(service.desired_count, service.minimum_healthy_percent)


def _wanted(world: World, *deployments: d.Deployment) -> list[Task]:
    ids = {x.id for x in deployments}
    return [task for task in world.tasks.values() if task.is_wanted and task.deployment_id in ids]


def _replacement(world: World, task: Task) -> Task | None:
    """The live task that was started for this unhealthy one."""
    return next((x for x in world.tasks.values() if x.replaces == task.id and x.is_wanted), None)


def _viable(world: World, deployment: d.Deployment, now: float) -> int:
    """Tasks this deployment can count on, if need be soon. Unhealthy ones are to be replaced."""
    return sum(is_present(world, task, now) and not task.unhealthy_reason for task in world.tasks_of(deployment))


def needed(world: World, deployment: d.Deployment, now: float) -> int:
    """How many tasks this deployment lacks.

    One that is being replaced is on its way out: it gets new tasks only as far as the floor needs them beside
    the PRIMARY's healthy ones and the viable ones of all that are being replaced (WN-2025-11: the running
    revision keeps the service available, whatever becomes of the new one). A FAILED PRIMARY replaces nothing.
    """
    lacking = deployment.desired_count - _viable(world, deployment, now)
    if deployment.number == world.primary.number or lacking <= 0:
        return lacking
    if world.primary.rollout_state is d.RolloutState.FAILED:
        return lacking
    return min(lacking, _short(world, now))


def _short(world: World, now: float) -> int:
    """How many tasks the floor lacks beside the PRIMARY's healthy ones and all viable old ones."""
    held = sum(is_healthy(world, task, now, baked=False) for task in _wanted(world, world.primary))
    held += sum(_viable(world, x, now) for x in world.deployments[1:])
    return floor(world) - held


def _emit(message: str) -> c.Command:
    return c.EmitServiceEvent(message)


# --- phases ------------------------------------------------------------------------------------------------


def set_desired(world: World, now: float) -> list[c.Command]:
    """A new deployment starts at desired 0 (CLI-EX, O7); changes of the desired count are followed."""
    primary, wanted = world.primary, world.settings.service.desired_count
    if primary.rollout_state is d.RolloutState.FAILED or primary.desired_count == wanted or not has_begun(world, now):
        return []
    return [c.SetDeploymentDesired(primary.number, wanted)]


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
        found.append(_emit(messages.deregistered(service.name, len(due), arn)))
    announced = [task for task in due if not task.crashed]
    announced += [
        task
        for task in world.tasks.values()
        if task.crashed and not task.drain_announced and task.deregistered_at is not None and task.deregistered_at < now
    ]
    found += [c.AnnounceDraining(task.id) for task in announced]
    for deployment_id, count in Counter(task.deployment_id for task in announced).items():
        found.append(_emit(messages.draining(service.name, deployment_id, count)))
    return found


def _is_report_due(world: World, task: Task, now: float) -> bool:
    if task.crashed:
        return (
            task.execution_stopped_at is not None and now >= task.execution_stopped_at + world.timing.failure_report_s
        )
    return task.stop_decided_at is not None and task.stop_decided_at < now


def signal(world: World, now: float) -> list[c.Command]:
    """The stop signal comes when the target is gone, never before: after the *full* delay, however idle.

    ECS-DG-now/load-balancer-connection-draining: ECS waits for UNUSED. O1: SIGTERM on the next pass.
    """
    return [
        c.SignalContainer(task.id)
        for task in world.tasks.values()
        if task.known is TaskStatus.DEACTIVATING
        and task.address
        and task.address not in world.targets
        and not task.is_draining_due
    ]


def register(world: World, now: float) -> list[c.Command]:
    """Containers that are up join the target group, before their task is RUNNING (O3)."""
    service = world.settings.service
    if not service.has_load_balancer:
        return []
    up = [
        task
        for task in world.tasks.values()
        if task.known is TaskStatus.ACTIVATING and task.is_wanted and task.address and task.registered_at is None
    ]
    if not up:
        return []
    arn = names.target_group_arn(service, world.settings.target_group)
    return [*(c.RegisterTarget(task.id) for task in up), _emit(messages.registered(service.name, len(up), arn))]


def judge(world: World, now: float) -> list[c.Command]:
    """RUNNING tasks that fail a check outside their grace period are to be replaced.

    The grace period counts from when a task has first started and covers the ELB's and the container's
    check alike. API-ECS healthCheckGracePeriodSeconds.
    """
    service, found = world.settings.service, list[c.Command]()
    arn = names.target_group_arn(service, world.settings.target_group)
    for task in world.tasks.values():
        if not task.is_wanted or task.started_at is None or task.unhealthy_reason:
            continue
        if now < task.started_at + service.health_check_grace_period_s or not _fails_checks(world, task, now):
            continue
        target = world.targets.get(task.address)
        if target is not None and tg.state(target, now)[0] is tg.TargetState.UNHEALTHY:
            port, description = world.definitions[task.definition].container_port, tg.state(target, now)[2]
            found.append(c.JudgeUnhealthy(task.id, messages.elb_health_reason(arn)))
            found.append(_emit(messages.unhealthy_target(service.name, task.id, port, arn, description)))
        else:
            found.append(c.JudgeUnhealthy(task.id, messages.CONTAINER_HEALTH_REASON))
            found.append(_emit(messages.unhealthy_container(service.name, task.id)))
    return found


def _fails_checks(world: World, task: Task, now: float) -> bool:
    """A RUNNING task that the target group or its own check calls unhealthy, in its grace period or not."""
    if task.known is not TaskStatus.RUNNING:
        return False
    return task.container_healthy is False or _target_state(world, task, now) is tg.TargetState.UNHEALTHY


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
    found = [c.FailDeployment(primary.number), _emit(messages.failed(service.name, primary.id))]
    if breaker.rollback and world.last_completed is not None:
        found += [_emit(messages.rolling_back(service.name, world.last_completed.id)), c.RollBack()]
    return found


def start(world: World, now: float) -> list[c.Command]:
    """Tasks are started for every deployment that lacks some, within the room there is.

    An unhealthy task gets its replacement first and is stopped later (WN-2023-10-23). A FAILED deployment
    starts nothing (API-ECS rolloutState); one whose tasks never run is throttled (ECS-DG).
    """
    service, number = world.settings.service, world.tasks_made
    found, plain, replacing = list[c.Command](), list[str](), list[str]()
    zones = Counter(dict.fromkeys(service.availability_zones, 0))
    zones.update(task.availability_zone for task in world.tasks.values() if task.is_wanted)
    for deployment, replaces in _starts(world, now)[: max(0, room(world))]:
        number += 1
        task_id, zone = names.task_id(world.seed, number), min(zones, key=lambda z: (zones[z], z))
        zones[zone] += 1
        (replacing if replaces else plain).append(task_id)
        found.append(c.StartTask(task_id, number, deployment.number, zone, replaces))
    if plain:
        found.append(_emit(messages.started(service.name, plain)))
    if replacing:
        found.append(_emit(messages.started_for_unhealthy(service.name, replacing)))
    return found


def _starts(world: World, now: float) -> list[tuple[d.Deployment, str]]:
    """(deployment, unhealthy task to be replaced or ""), most urgent first, as if there were room for all.

    What the running revision lost comes first, whatever becomes of the new one (WN-2025-11). But a revision that
    never gets healthy, or crashes again and again, must not keep out the very deployment that mends it: one task
    of the PRIMARY comes before all, if none is on its way and the percents leave a place above the floor [inferred].
    """
    primary, old = list[tuple[d.Deployment, str]](), list[tuple[d.Deployment, str]]()
    started = 0
    for deployment in reversed(world.deployments):
        is_throttled = deployment.start_failures > 0 and now < deployment.next_start_at
        if deployment.rollout_state is d.RolloutState.FAILED or is_throttled:
            continue
        is_primary = deployment.number == world.primary.number
        lacking = needed(world, deployment, now) - (0 if is_primary else started)
        orphans = [x for x in _wanted(world, deployment) if x.unhealthy_reason and _replacement(world, x) is None]
        for place in range(lacking):
            task_id = orphans[place].id if place < len(orphans) else ""
            (primary if is_primary else old).append((deployment, task_id))
        started += max(0, lacking)
    is_waiting = all(is_healthy(world, x, now, baked=False) for x in _wanted(world, world.primary))
    first = 1 if is_waiting and ceiling(world) > floor(world) else 0
    return primary[:first] + old + primary[first:]


def say_throttled(world: World, now: float) -> list[c.Command]:
    """Said when starts have failed more than once in a row; not again within six hours."""
    if max(x.start_failures for x in world.deployments) < 2:
        return []
    return _say_again(world, messages.impaired(world.settings.service.name), now)


def stop_unhealthy(world: World, now: float) -> list[c.Command]:
    """An unhealthy task goes when its replacement is healthy, or fails its checks too, in grace or not (CR#2714).

    Where the maximum leaves no room for a replacement, unhealthy tasks are stopped one by one as long as the
    running ones stay at the floor (API-ECS minimumHealthyPercent). Those of a failed deployment go at once, and
    so do those that healthy ones have made superfluous (the desired count was lowered meanwhile).
    """
    picks: list[Task] = []
    running = sum(x.known is TaskStatus.RUNNING and x.is_wanted for x in world.tasks.values())
    may_make_room = room(world) <= 0 and running - 1 >= floor(world)
    may_make_room &= not any(x.stop_decided_at == now for x in world.tasks.values())
    for deployment in world.deployments:
        wanted = _wanted(world, deployment)
        healthy = sum(is_healthy(world, x, now, baked=False) for x in wanted)
        is_complete = deployment.number == world.primary.number and healthy >= deployment.desired_count
        for task in wanted:
            if not task.unhealthy_reason:
                continue
            replacement = _replacement(world, task)
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
    fresh, old = _wanted(world, world.primary), _wanted(world, *world.deployments[1:])
    healthy = {x.id for x in fresh + old if is_healthy(world, x, now, baked=_bakes(world, x))}
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


def _bakes(world: World, task: Task) -> bool:
    """New tasks bake while their deployment is in progress; tasks of a completed one have long done so."""
    return task.deployment_id == world.primary.id and world.primary.rollout_state is not d.RolloutState.COMPLETED


def _surplus(world: World, fresh: list[Task], healthy: set[str], now: float) -> list[Task]:
    """PRIMARY tasks above its desired count, never protected ones: those not yet healthy first, the newest first."""
    viable = [x for x in fresh if not x.unhealthy_reason]
    free = [x for x in reversed(viable) if not x.is_protected(now)]
    excess = len(viable) - world.primary.desired_count
    starting = [x for x in free if x.id not in healthy][: max(0, excess)]
    spare = min(excess - len(starting), len(healthy) - floor(world))
    return starting + _by_zone([x for x in free if x.id in healthy], spare)


def _by_zone(tasks: list[Task], count: int) -> list[Task]:
    """`count` of `tasks` at most, each from the zone that then holds most of them: zones stay balanced (API-ECS).

    Six tasks in zones a a a b b c, three to go: a, a, b; one stays in each.
    """
    zones, picks = Counter(x.availability_zone for x in tasks), list[Task]()
    while len(picks) < min(count, len(tasks)):
        rest = [x for x in tasks if x not in picks]
        pick = max(rest, key=lambda x: zones[x.availability_zone])
        zones[pick.availability_zone] -= 1
        picks.append(pick)
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
        found.append(_emit(messages.stopped(name, running)))
    if len(picks) > len(running):
        found.append(_emit(messages.stopped_pending(name, len(picks) - len(running))))
    return found


def say_stuck(world: World, now: float) -> list[c.Command]:
    """What can neither start nor stop says why: protected tasks (rollouts and scale-in), or percents without room."""
    primary, name = world.primary, world.settings.service.name
    if primary.rollout_state is not d.RolloutState.FAILED and _is_at_rest(world, now):
        is_over = _viable(world, primary, now) > primary.desired_count
        for deployment in world.deployments if is_over else world.deployments[1:]:
            protected = sum(x.is_protected(now) for x in _wanted(world, deployment))
            if protected:
                return _say_again(world, messages.under_protection(name, deployment.id, protected), now)
    return _say_again(world, messages.stuck(name), now) if is_stuck(world, now) else []


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
    held = sum(x.desired_count for x in old) + len(_wanted(world, world.primary))
    return ceiling(world) <= floor(world) and held >= ceiling(world)


def _is_at_rest(world: World, now: float) -> bool:
    """Every task is RUNNING or STOPPED, the new ones are healthy or given up, and none waits for its start."""
    if not has_begun(world, now):
        return False
    if any(x.known not in (TaskStatus.RUNNING, TaskStatus.STOPPED) for x in world.tasks.values()):
        return False
    if needed(world, world.primary, now) > 0 and room(world) > 0:
        return False
    fresh = _wanted(world, world.primary)
    return all(x.unhealthy_reason or is_healthy(world, x, now, baked=_bakes(world, x)) for x in fresh)


def retire(world: World, now: float) -> list[c.Command]:
    """An old deployment whose tasks are all gone, and which wants none, becomes INACTIVE and vanishes."""
    return [
        c.RetireDeployment(x.number)
        for x in world.deployments[1:]
        if (needed(world, x, now) <= 0 or x.rollout_state is d.RolloutState.FAILED)
        and all(task.known is TaskStatus.STOPPED for task in world.tasks_of(x))
    ]


def complete(world: World, now: float) -> list[c.Command]:
    """COMPLETED when every task is healthy and the previous tasks are *removed*, not merely draining.

    API-ECS DeploymentEarlySuccessCriteria; O6: 410 s after draining began at a delay of 300 s.
    """
    primary, service = world.primary, world.settings.service
    if primary.rollout_state is not d.RolloutState.IN_PROGRESS or len(world.deployments) > 1:
        return []
    fresh = _wanted(world, primary)
    healthy = sum(is_healthy(world, x, now, baked=True) for x in fresh)
    if not primary.desired_count == service.desired_count == len(fresh) == healthy:
        return []
    return [
        c.CompleteDeployment(primary.number),
        _emit(messages.completed(service.name, primary.id)),
        _emit(messages.steady(service.name)),
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
        return [_emit(messages.steady(service.name)), c.SetSteady(True)]
    return _say_again(world, messages.steady(service.name), now)


def _is_steady(world: World, now: float) -> bool:
    primary, service = world.primary, world.settings.service
    if primary.rollout_state is not d.RolloutState.COMPLETED or len(world.deployments) > 1:
        return False
    fresh = _wanted(world, primary)
    if len(fresh) != service.desired_count or not all(is_healthy(world, x, now, baked=False) for x in fresh):
        return False
    leaving = [x for x in world.tasks.values() if not x.is_wanted]
    return not any(x.is_draining_due or (x.deregistered_at is not None and x.deregistered_at >= now) for x in leaving)


def _say_again(world: World, message: str, now: float) -> list[c.Command]:
    """The message, unless it was said within six hours. ECS-DG/service-event-messages."""
    said = [event.at for event in world.service_events if event.message == message]
    if said and now < said[-1] + world.timing.event_repeat_s:
        return []
    return [_emit(message)]


PHASES: tuple[Callable[[World, float], list[c.Command]], ...] = (
    set_desired,
    deregister,
    signal,
    judge,
    count,
    break_circuit,
    register,
    roll,
    start,
    say_throttled,
    stop_unhealthy,
    say_stuck,
    retire,
    complete,
    settle,
)
"""In this order. Each returns nothing once its commands have been applied at the same `now`.

`roll` before `start`: where both happen in one pass, at 0/200, ECS says "stopped" first (O3).
"""
