"""A phase of the scheduler that moves tasks between Availability Zones, with no deployment at all.

    is not AZ balanced with 3 tasks in a, 1 tasks in b  ->  one starts in b  ->  one of a is stopped  ->  is AZ balanced

API-ECS availabilityZoneRebalancing (ENABLED for new services), ECS-DG-now/track-service-rebalancing; the words: O11.
The stop itself is that of any task above the desired count (service_stops): so it drains, and its sessions move.
"""

from __future__ import annotations

from collections import Counter

from rollproof.core import commands as c
from rollproof.core import messages, names
from rollproof.core.service_census import able_zones, emit, room, wanted_of
from rollproof.core.world import World


def rebalance(world: World, now: float) -> list[c.Command]:
    """A steady service two or more tasks apart between two zones starts one task in the thinnest, if there is room.

    One at a time: it is steady again only when that task is healthy and one elsewhere has begun to drain [inferred].
    Where the fullest zone has only protected tasks, nothing would be won.
    """
    service, primary = world.settings.service, world.primary
    if service.availability_zone_rebalancing != "ENABLED" or not world.is_steady:
        return []
    tasks = wanted_of(world, primary)
    held = Counter(dict.fromkeys(service.availability_zones, 0))
    held.update(x.availability_zone for x in tasks)
    thin = min(able_zones(world), key=lambda zone: (held[zone], zone))
    if not any(held[zone] - held[thin] > 1 for zone in held):
        return [emit(messages.balanced(service.name, held))] if _is_under_way(world) else []
    movable = {x.availability_zone for x in tasks if not x.is_protected(now)}
    is_throttled = primary.start_failures > 0 and now < primary.next_start_at
    if room(world) <= 0 or is_throttled or not any(held[zone] - held[thin] > 1 for zone in movable):
        return []
    number = world.tasks_made + 1
    task_id = names.task_id(world.seed, number)
    begun = [] if _is_under_way(world) else [emit(messages.unbalanced(service.name, held))]
    return [
        *begun,
        c.StartTask(task_id, number, primary.number, thin, rebalances=True),
        emit(messages.started_to_rebalance(service.name, thin, [task_id])),
    ]


def _is_under_way(world: World) -> bool:
    """Whether the last word on zones was that they are not balanced."""
    said = [x.message for x in world.service_events if "AZ balanced with" in x.message]
    return bool(said) and "is not AZ balanced" in said[-1]
