"""Phases of the scheduler that bring tasks up: desired counts, registration, starts."""

from __future__ import annotations

from collections import Counter

from rollproof.core import commands as c
from rollproof.core import deployment as d
from rollproof.core import messages, names
from rollproof.core.service_census import (
    able_zones,
    ceiling,
    emit,
    floor,
    has_begun,
    is_healthy,
    needed,
    replacement_of,
    room,
    say_again,
    wanted_of,
)
from rollproof.core.task import TaskStatus
from rollproof.core.world import World


def set_desired(world: World, now: float) -> list[c.Command]:
    """A new deployment starts at desired 0 (CLI-EX, O7); changes of the desired count are followed."""
    primary, wanted = world.primary, world.settings.service.desired_count
    if primary.rollout_state is d.RolloutState.FAILED or primary.desired_count == wanted or not has_begun(world, now):
        return []
    return [c.SetDeploymentDesired(primary.number, wanted)]


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
    return [*(c.RegisterTarget(task.id) for task in up), emit(messages.registered(service.name, len(up), arn))]


def start(world: World, now: float) -> list[c.Command]:
    """Tasks are started for every deployment that lacks some, within the room there is.

    Each goes to the zone with the fewest of its own deployment, so that what stays when the old ones are gone is in
    balance. An unhealthy task gets its replacement first and is stopped later (WN-2023-10-23). A FAILED deployment
    starts nothing (API-ECS rolloutState); one whose tasks never run is throttled (ECS-DG).
    """
    starts = _starts(world, now)[: max(0, room(world))]
    if not starts:
        return []
    service, number = world.settings.service, world.tasks_made
    found, plain, replacing = list[c.Command](), list[str](), list[str]()
    wanted = [x for x in world.tasks.values() if x.is_wanted and not x.unhealthy_reason]
    zones = Counter(x.availability_zone for x in wanted)
    own = Counter((x.deployment_id, x.availability_zone) for x in wanted)
    for deployment, replaces in starts:
        number += 1
        task_id = names.task_id(world.seed, number)
        zone = _thinnest(able_zones(world), deployment.id, own, zones)
        own[deployment.id, zone] += 1
        zones[zone] += 1
        (replacing if replaces else plain).append(task_id)
        found.append(c.StartTask(task_id, number, deployment.number, zone, replaces))
    if plain:
        found.append(emit(messages.started(service.name, plain)))
    if replacing:
        found.append(emit(messages.started_for_unhealthy(service.name, replacing)))
    return found


def _thinnest(zones: tuple[str, ...], deployment_id: str, own: Counter[tuple[str, str]], held: Counter[str]) -> str:
    """The zone with the fewest tasks of this deployment; among equals the one with the fewest at all."""
    return min(zones, key=lambda zone: (own[deployment_id, zone], held[zone], zone))


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
        orphans = [x for x in wanted_of(world, deployment) if x.unhealthy_reason and replacement_of(world, x) is None]
        for place in range(lacking):
            task_id = orphans[place].id if place < len(orphans) else ""
            (primary if is_primary else old).append((deployment, task_id))
        started += max(0, lacking)
    is_waiting = all(is_healthy(world, x, now, baked=False) for x in wanted_of(world, world.primary))
    first = 1 if is_waiting and ceiling(world) > floor(world) else 0
    return primary[:first] + old + primary[first:]


def say_throttled(world: World, now: float) -> list[c.Command]:
    """Said when starts have failed more than once in a row; not again within six hours."""
    if max(x.start_failures for x in world.deployments) < 2:
        return []
    return say_again(world, messages.impaired(world.settings.service.name), now)
