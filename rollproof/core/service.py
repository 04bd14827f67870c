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

from collections.abc import Callable

from rollproof.core import commands as c
from rollproof.core.service_census import begins_at, has_begun
from rollproof.core.service_end import complete, retire, say_stuck, settle
from rollproof.core.service_health import break_circuit, count, judge
from rollproof.core.service_starts import register, say_throttled, set_desired, start
from rollproof.core.service_stops import deregister, roll, signal, stop_unhealthy
from rollproof.core.service_zones import rebalance
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
    return [c.ScheduleTick(following if has_begun(world, now) else min(following, begins_at(world)))]


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
    rebalance,
)
"""In this order. Each returns nothing once its commands have been applied at the same `now`.

`roll` before `start`: where both happen in one pass, at 0/200, ECS says "stopped" first (O3).
"""
