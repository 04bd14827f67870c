"""One rollout with modelled sessions, from a steady service to the next steady state.

    result = simulate(Settings(), sessions=1_000, call_interval_s=2.0)
    assert result.lost == 0, result.lost_because

The service is brought up by the core, becomes steady, clients begin, and at a moment drawn within one pass of the
scheduler the steps are taken: a forced deployment, unless others are given. All chance comes from one Random(seed).
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from rollproof.core.deployment import RolloutState
from rollproof.core.errors import UsageError
from rollproof.core.service_end import is_stuck
from rollproof.core.settings import Settings
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.world import World
from rollproof.sim.heap.clients import Clients, Fate, Outcomes, SessionOutcome, SessionsIn
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.moments import Moments, Watch
from rollproof.sim.heap.sessions import Sessions
from rollproof.sim.heap.steps import Force, Steps
from rollproof.sim.heap.world import HeapWorld, NotReached

FORCED: Steps = (Force(),)
COMES_UP = -1.0
AT_MOST_S = 14_400.0
"""A rollout that has not ended by then is given up."""


@dataclass(frozen=True)
class HeapResult:
    """Numbers of one simulated rollout. Times are seconds from the deployment; `ended` says how it did: completed,
    rolled back, failed, stuck or unfinished (after four hours)."""

    seed: int
    sessions: int
    survived: int
    degraded: int
    lost: int
    calls: int
    failed_calls: int
    moved: int
    moved_between: tuple[float, float] | None
    lost_between: tuple[float, float] | None
    lost_before: int  # before anything was deployed
    lost_because: Mapping[str, int]
    streams_cut: int
    streams_cut_between: tuple[float, float] | None
    moments: Moments
    ended: str
    duration_s: float  # until the service was steady again, or until it was given up
    events: tuple[tuple[float, str], ...]
    outcomes: Outcomes = field(repr=False, compare=False)
    zero: float = field(repr=False, compare=False)

    def session(self, number: int) -> SessionOutcome:
        return self.outcomes.session(number, self.zero)


def simulate(
    settings: Settings | None = None,
    *,
    timing: Timing | None = None,
    seed: int = 1,
    sessions: int = 20,
    call_interval_s: float = 2.0,
    sessions_in: SessionsIn = SessionsIn.MEMORY,
    model: Behaviour | None = None,
    clients: Clients | None = None,
    steps: Steps = FORCED,
    follow: Callable[[float], None] | None = None,
) -> HeapResult:
    """`model`: how containers behave; `clients`: all about the clients, instead of the three arguments before it.
    `follow` is told the virtual seconds since the deployment, again and again; COMES_UP before it.

    Raises NotModelled for platforms without an ALB's routing, UsageError for a service that never becomes steady.
    """
    chosen = clients or Clients(sessions, call_interval_s, sessions_in)
    with _collector_held():
        return _simulate(settings or Settings(), timing or Timing(), seed, model or Behaviour(), chosen, steps, follow)


@contextmanager
def _collector_held() -> Iterator[None]:
    """What is made here holds no cycles; looking for some among millions of records costs a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _simulate(
    settings: Settings,
    timing: Timing,
    seed: int,
    model: Behaviour,
    chosen: Clients,
    steps: Steps,
    follow: Callable[[float], None] | None,
) -> HeapResult:
    random = Random(seed)
    tell = follow or _tell_nobody
    heap = steady_heap(settings, timing, seed, model, lambda: tell(COMES_UP))
    followed = Sessions(heap, chosen, random, lambda: tell(COMES_UP))
    followed.begin()
    heap.run(random.random() * heap.timing.scheduler_tick_s)
    watch = Watch(heap.now)
    followed.tell = lambda: tell(heap.now - watch.zero)
    heap.checks.append(watch.follow)
    for step in steps:
        step.do(heap)
    ended = _run_to_the_end(heap)
    duration_s = heap.now - watch.zero
    heap.run(chosen.call_interval_s)
    return _result(heap, watch, followed, seed, ended, duration_s)


def _tell_nobody(_at_s: float) -> None:
    """Where nobody follows."""


def _run_to_the_end(heap: HeapWorld) -> str:
    """To the steady state after it, or to where it can go no further."""
    try:
        heap.run_until(lambda world: _ended(heap, world) != "", at_most_s=AT_MOST_S)
    except NotReached:
        return "unfinished"
    return _ended(heap, heap.world)


def _ended(heap: HeapWorld, world: World) -> str:
    if world.is_steady:
        return "rolled back" if world.primary.is_rolling_back else "completed"
    state = world.primary.rollout_state
    if state is RolloutState.FAILED and all(x.known in _AT_REST for x in world.tasks.values()):
        return "failed"
    return "stuck" if state is RolloutState.IN_PROGRESS and _is_said_stuck(heap, world) else ""


_AT_REST = (TaskStatus.RUNNING, TaskStatus.STOPPED)


def _is_said_stuck(heap: HeapWorld, world: World) -> bool:
    said = world.service_events[-1].message if world.service_events else ""
    return "was unable to stop or start tasks" in said and is_stuck(world, heap.now)


# --- the service before ------------------------------------------------------------------------------------------

_STEADY: OrderedDict[tuple[str, str, str], HeapWorld] = OrderedDict()
_KEPT = 16  # services, the last ones used
_KEPT_TASKS = 200  # larger ones are not kept


def forget_services() -> None:
    """Every service is brought up anew from here on."""
    _STEADY.clear()


def steady_heap(
    settings: Settings, timing: Timing, seed: int, model: Behaviour, follow: Callable[[], None] = lambda: None
) -> HeapWorld:
    """A heap world whose service has just become steady.

    How it came up does not depend on the seed, but for what nodes and ids draw; so for one configuration it is played
    once, and other seeds go on from there.
    """

    def is_up(world: World) -> bool:
        follow()
        return world.is_steady

    key = (repr(settings), repr(timing), repr(model))
    found = _STEADY.pop(key, None)
    if found is None:
        found = HeapWorld(settings, timing, seed, {settings.task_definition.name: model})
        try:
            found.run_until(is_up)
        except NotReached as error:
            raise UsageError(
                f"with these settings the service does not become steady, even before it is deployed to: {error}",
                hint="look at desired_count, the percents and the health checks",
            ) from error
        if settings.service.desired_count > _KEPT_TASKS:
            return found
    _STEADY[key] = found
    if len(_STEADY) > _KEPT:
        _STEADY.popitem(last=False)
    return found.copy(seed)


def _result(heap: HeapWorld, watch: Watch, followed: Sessions, seed: int, ended: str, duration_s: float) -> HeapResult:
    calls, outcomes, zero = followed.finish(), followed.outcomes, watch.zero
    moves, cuts = outcomes.moves, outcomes.streams_cut
    lost_between = outcomes.lost_between()
    lost = outcomes.total(Fate.LOST)
    return HeapResult(
        seed=seed,
        sessions=outcomes.count,
        survived=outcomes.total(Fate.SURVIVED),
        degraded=outcomes.total(Fate.DEGRADED),
        lost=lost,
        calls=calls,
        failed_calls=outcomes.failed_calls,
        moved=len(moves),
        moved_between=(min(moves) - zero, max(moves) - zero) if moves else None,
        lost_between=lost_between and (lost_between[0] - zero, lost_between[1] - zero),
        lost_before=sum(at < zero for at in outcomes.lost_at),  # nan is not less
        lost_because=dict(outcomes.lost_because()) if lost else {},
        streams_cut=cuts.total(),
        streams_cut_between=(min(cuts) - zero, max(cuts) - zero) if cuts else None,
        moments=watch.moments(),
        ended=ended,
        duration_s=duration_s,
        events=tuple((x.at - zero, x.message) for x in heap.world.service_events if x.at >= zero),
        outcomes=outcomes,
        zero=zero,
    )
