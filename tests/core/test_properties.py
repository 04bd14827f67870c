"""What holds whatever happens to a service: laws after every step, and an end to every rollout.

A Hypothesis state machine plays UpdateService, StopTask, crashes, failing health checks, protection and time
against the core on its virtual stage. After each single step the laws are checked (safety). At the end the faults
stop, a deployment that can work is made, and it has to complete, or to be named stuck, with nothing left over
(liveness). ROLLPROOF_HYPOTHESIS=thorough looks much longer, and elsewhere each time.
"""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import HealthCheck as Slow
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rollproof.core import events as e
from rollproof.core.decide import decide
from rollproof.core.describe import describe
from rollproof.core.service_end import is_stuck
from rollproof.core.settings import CircuitBreaker, Settings, ThresholdType
from rollproof.core.task import Task, TaskStatus
from tests.core.laws import BAD, GOOD, LAWS, has_ended, nothing_is_left
from tests.core.play import Behaviour, Play, settings

THOROUGH = os.environ.get("ROLLPROOF_HYPOTHESIS") == "thorough"
PROFILE = profile(
    max_examples=1_500 if THOROUGH else 40,
    stateful_step_count=25 if THOROUGH else 14,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=[Slow.too_slow, Slow.filter_too_much],
)

# --- the machine ---------------------------------------------------------------------------------------------------

PERCENTS = [(100, 200), (100, 200), (50, 200), (50, 100), (0, 100), (0, 200), (100, 150), (75, 125), (100, 125)]
BREAKERS = [
    CircuitBreaker(),
    CircuitBreaker(enable=True),
    CircuitBreaker(enable=True, rollback=True),
    CircuitBreaker(True, True, ThresholdType.COUNT, 2, reset_on_healthy_task=False),
]
ZONES = Settings().service.availability_zones
tasks = st.integers(0, 9)


class Rollouts(RuleBasedStateMachine):
    @initialize(
        desired=st.integers(0, 4),
        percents=st.sampled_from(PERCENTS),
        delay_s=st.sampled_from([30.0, 300.0, 0.0, 5.0]),
        nodes=st.integers(1, 3),
        grace_s=st.sampled_from([0.0, 0.0, 120.0]),
        breaker=st.sampled_from(BREAKERS),
        runs_s=st.sampled_from([600, 20]),
        seed=st.integers(0, 3),
    )
    def create_service(self, desired, percents, delay_s, nodes, grace_s, breaker, runs_s, seed) -> None:  # type: ignore[no-untyped-def]
        chosen = settings(
            desired=desired,
            minimum=percents[0],
            maximum=percents[1],
            delay_s=delay_s,
            nodes=nodes,
            health_check_grace_period_s=grace_s,
            circuit_breaker=breaker,
            stop_timeout_s=5.0,
        )
        self.play = Play(chosen, seed=seed, checks=list(LAWS), tells_story=False)
        self.revision = 1
        self.play.run(runs_s)

    @rule(kind=st.sampled_from(sorted(BAD) + sorted(GOOD)))
    def deploy(self, kind: str) -> None:
        self.revision += 1
        self.play.deploy(self.revision, (BAD | GOOD)[kind])

    @rule()
    def force(self) -> None:
        self.play.update(force_new_deployment=True)

    @rule(desired=st.integers(0, 6), also_deploys=st.booleans())
    def scale(self, desired: int, also_deploys: bool) -> None:
        self.play.update(desired_count=desired, force_new_deployment=also_deploys)

    @rule(percents=st.sampled_from(PERCENTS))
    def change_percents(self, percents: tuple[int, int]) -> None:
        self.play.update(minimum_healthy_percent=percents[0], maximum_percent=percents[1])

    @rule(number=tasks, exit_code=st.sampled_from([1, 137]))
    def crash(self, number: int, exit_code: int) -> None:
        if task := self._pick(number):
            self.play.tell(e.ContainerExited(task.id, exit_code)).run(0)

    @rule(number=tasks)
    def stop_task(self, number: int) -> None:
        if task := self._pick(number):
            self.play.tell(e.TaskStopRequested(task.id, "test")).run(0)

    @rule(number=tasks, status=st.sampled_from([503, None, 200]))
    def answer_checks(self, number: int, status: int | None) -> None:
        if task := self._pick(number):
            self.play.exceptions[task.id] = replace(self.play.behaviour_of(task.id), health_status=status)

    @rule(number=tasks, healthy=st.booleans())
    def check_container(self, number: int, healthy: bool) -> None:
        if (task := self._pick(number)) and task.known is TaskStatus.RUNNING:
            self.play.tell(e.ContainerHealthChanged(task.id, healthy)).run(0)

    @rule(number=tasks, enabled=st.booleans())
    def protect(self, number: int, enabled: bool) -> None:
        if task := self._pick(number):
            self.play.tell(e.TaskProtectionChanged(task.id, enabled, 10)).run(0)

    @rule(number=tasks)
    def interrupt(self, number: int) -> None:
        if task := self._pick(number):
            self.play.tell(e.SpotInterrupted(task.id)).run(0)

    @rule(zone=st.sampled_from(ZONES), is_available=st.booleans())
    def impair_zone(self, zone: str, is_available: bool) -> None:
        self.play.tell(e.ZoneAvailabilityChanged(zone, is_available)).run(0)

    @rule(lag_s=st.sampled_from([0.0, 20.0, 400.0]))
    def let_node_lag(self, lag_s: float) -> None:
        self.play.tell(e.NodeLagChanged("node-0", lag_s)).run(0)

    @rule(seconds=st.sampled_from([1.0, 9.0, 30.0, 100.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.play.run(seconds)

    def _pick(self, number: int) -> Task | None:
        alive = [x for x in self.play.world.tasks.values() if x.known is not TaskStatus.STOPPED]
        return alive[number % len(alive)] if alive else None

    @invariant()
    @precondition(lambda self: hasattr(self, "play"))
    def decide_is_at_rest_and_counts_agree(self) -> None:
        world, now = self.play.world, self.play.now
        assert decide(world, now) == []
        told = describe(world, now)
        for count in ("running", "pending"):
            assert told[f"{count}_count"] == sum(x["known"] in _COUNTED[count] for x in told["tasks"])
            assert told[f"{count}_count"] == sum(x[count] for x in told["deployments"])

    def teardown(self) -> None:
        """The faults stop and a revision that works is deployed. Three hours later its rollout has ended."""
        if not hasattr(self, "play"):
            return
        play = self.play
        play.exceptions.update({x: replace(how, health_status=200) for x, how in play.exceptions.items()})
        for task in play.world.tasks.values():
            play.tell(e.ContainerHealthChanged(task.id, True))
        for zone in ZONES:
            play.tell(e.ZoneAvailabilityChanged(zone, True))
        play.deploy(self.revision + 1, Behaviour())
        play.run_until(lambda world: has_ended(world, play.now), at_most_s=10_800)
        if not is_stuck(play.world, play.now):
            play.run(700)
            nothing_is_left(play.world)


_COUNTED = {"running": {"RUNNING"}, "pending": {"PROVISIONING", "PENDING", "ACTIVATING"}}

TestRollouts = Rollouts.TestCase
TestRollouts.settings = PROFILE
