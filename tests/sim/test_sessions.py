"""Modelled sessions: what becomes of them, and that looking at few calls tells the same as looking at every one."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from random import Random

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.decide import routing_table
from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.platforms import settings_on_platform
from rollproof.core.routing import choose, node_view, stuck_target
from rollproof.core.settings import Algorithm, CircuitBreaker, Settings, Stickiness
from rollproof.core.stickiness import target_key
from rollproof.core.timing import Timing
from rollproof.core.world import World
from rollproof.sim.heap import Behaviour, Clients, Fate, HeapResult, SessionsIn, simulate
from rollproof.sim.heap.simulate import steady_heap
from rollproof.sim.heap.steps import AnswerChecks, Crash, Deploy, Force, Interrupt, LagNode, Scale, Step, StopTask, Wait
from rollproof.sim.heap.world import Happened, HeapWorld
from tests.core.play import settings
from tests.core.rollouts import OUT_OF_BALANCE

STICKY = Stickiness(enabled=True)
DELAY_S = 30.0


def sticky(**knobs: object) -> Settings:
    return settings(**{"delay_s": DELAY_S, "stickiness": STICKY, **knobs})  # type: ignore[arg-type]


# --- every call ------------------------------------------------------------------------------------------------------


class EveryCall:
    """The same sessions, each call routed at its own time through the whole table. Slow, and plain to see."""

    def __init__(self, heap: HeapWorld, clients: Clients, random: Random) -> None:
        self.heap, self.clients = heap, clients
        interval_s = clients.call_interval_s
        first = [heap.now + interval_s * random.random() for _ in range(clients.count)]
        a_call = 1 if heap.world.settings.target_group.stickiness.enabled else 2
        self.draws = [random.random() for _ in first for _ in range(a_call)]  # for first calls
        self.calls = [(at + k * interval_s, number) for number, at in enumerate(first) for k in range(1_000)]
        self.calls.sort()
        self.at = [""] * clients.count
        self.turns = [0] * len(heap.world.rules.node_ids)
        self.made: list[tuple[float, int, str, str]] = []  # when, session, target, what failed
        self.ends: dict[str, float] = {}
        self.cut: set[int] = set()  # sessions
        heap.checks.append(self._follow)

    def _follow(self, before: World, happened: Happened, after: World, now: float) -> None:
        match happened:
            case c.RemoveTarget(target_id=target_id):
                self.ends.setdefault(target_id, now)
            case e.ContainerExited(task_id=task_id) if task_id in after.tasks:
                self.ends.setdefault(after.tasks[task_id].address, now)
                self._cut(after.tasks[task_id].address, now)
            case _:
                pass

    def _cut(self, target_id: str, now: float) -> None:
        """A session in the memory of a container that exits is over with its call in flight."""
        for at, number, answering, failed in self.made:
            in_flight = answering == target_id and not failed and at < now < at + self.clients.answer_s
            if in_flight and self.clients.lives is SessionsIn.MEMORY:
                self.cut.add(number)
                self._end(number)

    def run(self, for_s: float) -> None:
        end = self.heap.now + for_s
        while self.calls and self.calls[0][0] < end:
            at, number = self.calls.pop(0)
            self.heap.run(at - self.heap.now)
            self._call(at, number)
        self.heap.run(end - self.heap.now)

    def _call(self, at: float, number: int) -> None:
        node, world, old = number % len(self.turns), self.heap.world, self.at[number]
        table = routing_table(world, at, 1)
        view = node_view(table, table.nodes[node])
        target = stuck_target(view, target_key(old)) if old else None
        if target is None:
            target = choose(view, turn=self.turns[node], outstanding={}, draw=0.5)
            self.turns[node] += 1
        if target is None or not self._answers(target.id):
            is_gone = target is not None and target.id in self.ends and target.id == old
            self.made.append((at, number, target.id if target else "", "lost" if is_gone else "failed"))
            if is_gone and self.clients.lives is SessionsIn.MEMORY:
                self._end(number)
        else:
            moves = bool(old) and old != target.id and self.clients.lives is not SessionsIn.REDIS
            self.made.append((at, number, target.id, "lost" if moves else ""))
            self.at[number] = target.id
            if moves and self.clients.lives is SessionsIn.MEMORY:
                self._end(number)

    def _answers(self, target_id: str) -> bool:
        task = self.heap.world.tasks[self.heap.world.targets[target_id].task_id]
        return target_id not in self.ends and self.heap.containers.behaviour_of(task).health_status is not None

    def _end(self, number: int) -> None:
        self.calls = [x for x in self.calls if x[1] != number]

    def outcomes(self) -> list[tuple[Fate, float | None]]:
        """(fate, first failed call) of each session; calls in flight at the end of their target count as failed."""
        fates: list[tuple[Fate, float | None]] = [(Fate.SURVIVED, None)] * self.clients.count
        self.failed = 0
        for at, number, target_id, failed in self.made:
            fate, first = fates[number]
            end = self.ends.get(target_id, at)
            cut = not failed and at < end < at + self.clients.answer_s
            if fate is Fate.LOST or not (failed or cut):
                continue
            self.failed += 1
            is_lost = self.clients.lives is SessionsIn.MEMORY and (failed == "lost" or number in self.cut)
            fates[number] = (max(fate, Fate.LOST if is_lost else Fate.DEGRADED), at if first is None else first)
        return fates


SCENARIOS: dict[str, tuple[Settings, Sequence[Step]]] = {
    "rollout": (sticky(desired=3), (Force(), Wait(300))),
    "rollout, cookies obeyed while draining": (
        sticky(desired=2, sticky_overrides_drain=True),
        (Force(), Wait(250)),
    ),
    "no delay": (sticky(desired=2, delay_s=0.0), (Force(), Wait(250))),
    "crash": (sticky(desired=3), (Crash(0), Wait(200))),
    "hang": (sticky(desired=2), (AnswerChecks(0, None), Wait(300))),
    "hang that ends": (sticky(desired=2), (AnswerChecks(0, None), Wait(20), AnswerChecks(0, 200), Wait(60))),
    "the only one crashes": (sticky(desired=1), (Crash(0), Wait(200))),
    "stopped by hand, scaled in": (sticky(desired=4), (StopTask(1), Wait(50), Scale(2), Wait(200))),
    "checks fail": (sticky(desired=2), (AnswerChecks(1, 503), Wait(300))),
    "a node lags, then not": (
        sticky(desired=3, delay_s=120.0),
        (LagNode(1, 60.0), Scale(1), Wait(35), LagNode(1, 0.0), LagNode(0, 80.0), Wait(200)),
    ),
    "Spot, with a long delay": (sticky(desired=2, delay_s=300.0), (Interrupt(0), Wait(400))),
    "Spot, no drain": (sticky(desired=2, spot_drains=False), (Interrupt(0), Wait(100))),
    "zones get in balance": (sticky(desired=4), (*OUT_OF_BALANCE, Wait(300))),
    "each node its own zone": (settings(desired=2, delay_s=DELAY_S, cross_zone="false"), (Crash(0), Wait(200))),
    "fails open below three quarters": (
        sticky(desired=3, minimum_healthy_targets_percent=75),
        (AnswerChecks(1, 503), Wait(100), Scale(5), Wait(200)),
    ),
    "slow calls": (sticky(desired=2, stop_task_drains=False), (Force(), Wait(90), StopTask(0), Wait(200))),
}


QUICK = [("hang that ends", lives) for lives in SessionsIn] + [
    ("crash", SessionsIn.REDIS),
    ("rollout", SessionsIn.MEMORY),
    ("no delay", SessionsIn.REDIS),
    ("a node lags, then not", SessionsIn.MEMORY),
    ("fails open below three quarters", SessionsIn.MEMORY),
]


@pytest.mark.e2e
@pytest.mark.parametrize("lives", SessionsIn)
@pytest.mark.parametrize("name", SCENARIOS)
def test_few_calls_tell_what_every_call_tells_in_every_scenario(name: str, lives: SessionsIn) -> None:
    look_at_every_call(name, lives)


@pytest.mark.parametrize(("name", "lives"), QUICK)
def test_few_calls_tell_what_every_call_tells(name: str, lives: SessionsIn) -> None:
    look_at_every_call(name, lives)


def look_at_every_call(name: str, lives: SessionsIn) -> None:
    chosen, steps = SCENARIOS[name]
    answer_s = 1.5 if name == "slow calls" else 0.05
    clients = Clients(12, 2.0, lives, answer_s, streams=False)
    result = simulate(chosen, seed=3, clients=clients, steps=steps)

    random = Random(3)
    heap = steady_heap(chosen, Timing(), 3, Behaviour())
    every = EveryCall(heap, clients, random)
    every.run(clients.call_interval_s)
    every.run(random.random() * heap.timing.scheduler_tick_s)
    for step in steps:
        if isinstance(step, Wait):
            every.run(step.seconds)
        else:
            step.do(heap)
    while heap.now < result.zero + result.duration_s + clients.call_interval_s - 1e-6:
        every.run(min(1.0, result.zero + result.duration_s + clients.call_interval_s - heap.now))
    told = [(x.fate, x.at) for x in map(result.session, range(12))]
    expected = [(fate, None if at is None else pytest.approx(at - result.zero)) for fate, at in every.outcomes()]
    assert told == expected
    assert (result.failed_calls, result.calls) == (every.failed, len(every.made))


# --- what becomes of them --------------------------------------------------------------------------------------------


def totals(result: HeapResult) -> tuple[int, int, int]:
    return result.survived, result.degraded, result.lost


def test_sessions_in_memory_are_lost_when_their_node_learns_that_the_task_drains() -> None:
    result = simulate(sticky(), sessions=50)
    assert (totals(result), result.ended) == ((0, 0, 50), "completed")
    assert result.lost_because == {"target draining": 50}
    assert result.moments.draining is not None
    assert result.moments.learned is not None
    assert result.lost_between is not None
    assert result.moments.draining[0] < result.moments.learned[0] < result.lost_between[0]
    assert result.lost_between[1] < result.moments.learned[1] + 2.0
    assert result.failed_calls == 50  # a lost session is over
    assert {result.session(x).fate for x in range(50)} == {Fate.LOST}


def test_sessions_in_redis_move_and_survive() -> None:
    result = simulate(sticky(), sessions=50, sessions_in=SessionsIn.REDIS)
    assert (totals(result), result.failed_calls) == ((50, 0, 0), 0)
    assert result.moved >= 50
    assert result.session(7).at is None


def test_clients_that_begin_anew_are_degraded() -> None:
    assert totals(simulate(sticky(), sessions=50, sessions_in=SessionsIn.CLIENT)) == (0, 50, 0)


def test_cookies_that_overrule_a_drain_hold_until_the_end_of_the_delay() -> None:
    result = simulate(sticky(sticky_overrides_drain=True), sessions=50)
    assert result.lost_between is not None
    assert result.moments.removed is not None
    assert result.moments.removed[0] <= result.lost_between[0] < result.moments.removed[1] + 2.0


def test_streams_are_cut_at_the_end_of_the_delay() -> None:
    result = simulate(sticky(), sessions=50, sessions_in=SessionsIn.REDIS)
    assert (result.streams_cut, result.streams_cut_between) == (50, result.moments.removed)
    assert simulate(sticky(), clients=Clients(50, streams=False)).streams_cut == 0


def test_without_stickiness_sessions_in_memory_are_lost_before_anything_happens() -> None:
    """Two tasks, every other call at the other one: few last longer than a handful of calls."""
    result = simulate(settings(delay_s=DELAY_S), sessions=200, call_interval_s=0.5)
    assert result.lost == 200
    assert result.lost_before > 100
    assert "another target, no cookie binds" in result.lost_because


def test_without_stickiness_but_one_task_they_last_until_it_is_replaced() -> None:
    result = simulate(settings(desired=1, delay_s=DELAY_S), sessions=50)
    assert (result.lost, result.lost_before) == (50, 0)
    assert result.lost_between is not None
    assert result.moments.started is not None
    assert result.lost_between[0] > result.moments.started[0]


def test_without_stickiness_sessions_in_redis_notice_a_hang_and_nothing_else() -> None:
    calm = simulate(settings(delay_s=DELAY_S), sessions=100, sessions_in=SessionsIn.REDIS)
    assert (totals(calm), calm.failed_calls) == ((100, 0, 0), 0)
    steps = (AnswerChecks(0, None), Wait(300))
    hang = simulate(settings(delay_s=DELAY_S), sessions=100, sessions_in=SessionsIn.REDIS, steps=steps)
    assert hang.lost == 0
    assert hang.degraded > 90
    assert hang.failed_calls > 500  # half of the calls, for some 40 s


def test_cookie_that_ends_between_two_calls_binds_nobody() -> None:
    brief = sticky(stickiness=Stickiness(enabled=True, duration_s=1.0))
    assert simulate(brief, sessions=100, call_interval_s=5.0).lost_before > 0


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_algorithm_is_played(algorithm: Algorithm) -> None:
    result = simulate(sticky(algorithm=algorithm), sessions=40, sessions_in=SessionsIn.REDIS)
    assert totals(result) == (40, 0, 0)


def test_slow_start_is_played() -> None:
    assert totals(simulate(sticky(slow_start_s=30.0), sessions=40, sessions_in=SessionsIn.REDIS)) == (40, 0, 0)


def test_same_seed_same_result_and_another_seed_another() -> None:
    one, same, other = (simulate(sticky(), seed=seed, sessions=30) for seed in (5, 5, 6))
    assert (one, list(one.outcomes.failed_at)) == (same, list(same.outcomes.failed_at))
    assert [x for x in one.outcomes.failed_at if isnan(x)] == []
    assert one.lost_between != other.lost_between


def test_rollout_that_cannot_move_is_called_stuck_and_one_that_fails_failed() -> None:
    assert simulate(sticky(desired=1, minimum=100, maximum=150)).ended == "stuck"
    broken, breaker = Deploy(Behaviour(starts_after_s=None)), CircuitBreaker(enable=True)
    failed = simulate(sticky(circuit_breaker=breaker), steps=(broken,))
    assert (failed.ended, failed.lost) == ("failed", 0)
    assert failed.moments.failed is not None
    back = simulate(sticky(circuit_breaker=CircuitBreaker(enable=True, rollback=True)), steps=(broken,))
    assert (back.ended, back.lost) == ("rolled back", 0)
    assert simulate(sticky(), steps=(broken,)).ended == "unfinished"


def test_service_that_never_becomes_steady_is_refused() -> None:
    breaker = CircuitBreaker(enable=True)
    with pytest.raises(UsageError, match="does not become steady"):
        simulate(sticky(circuit_breaker=breaker), model=Behaviour(starts_after_s=None))


def test_routing_of_other_platforms_is_not_modelled() -> None:
    with pytest.raises(NotModelled, match="exclusive"):
        simulate(settings_on_platform(sticky(), "lambda"))
