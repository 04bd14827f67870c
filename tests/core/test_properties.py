"""What holds whatever happens to a service: laws after every step, and an end to every rollout.

A Hypothesis state machine plays UpdateService, StopTask, crashes, failing health checks, protection and time
against the core on its virtual stage. After each single step the laws are checked (safety). At the end the faults
stop, a deployment that can work is made, and it has to complete, or to be named stuck, with nothing left over
(liveness). ROLLPROOF_HYPOTHESIS=thorough looks much longer, and elsewhere each time.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

from hypothesis import HealthCheck as Slow
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.decide import decide
from rollproof.core.deployment import DeploymentStatus, RolloutState
from rollproof.core.describe import describe
from rollproof.core.service_end import is_stuck
from rollproof.core.settings import CircuitBreaker, ThresholdType
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World
from tests.core.play import Behaviour, Happened, Play, settings

THOROUGH = os.environ.get("ROLLPROOF_HYPOTHESIS") == "thorough"
PROFILE = profile(
    max_examples=1_500 if THOROUGH else 40,
    stateful_step_count=25 if THOROUGH else 14,
    deadline=None,
    derandomize=not THOROUGH,
    suppress_health_check=[Slow.too_slow, Slow.filter_too_much],
)

# --- the laws -----------------------------------------------------------------------------------------------


def is_serving(world: World, task: Task, now: float) -> bool:
    """Counts to the minimum healthy percent, as the API documents it, worked out anew here."""
    if task.known is not TaskStatus.RUNNING or task.unhealthy_reason:
        return False
    target = world.targets.get(task.address)
    return target is not None and tg.state(target, now)[0] is tg.TargetState.HEALTHY


def floor_holds(before: World, happened: Happened, after: World, now: float) -> None:
    """The scheduler never stops a healthy task that the minimum healthy percent needs."""
    if not isinstance(happened, c.StopTask) or not is_serving(before, before.tasks[happened.task_id], now):
        return
    service = after.settings.service
    left = sum(is_serving(after, task, now) for task in after.tasks.values())
    least = math.ceil(service.desired_count * service.minimum_healthy_percent / 100)
    assert left >= least, f"{left} healthy tasks left at {now}, the minimum is {least}"


def ceiling_holds(before: World, happened: Happened, after: World, now: float) -> None:
    """The scheduler never starts a task above the maximum percent; what drains or stops counts."""
    if not isinstance(happened, c.StartTask):
        return
    service = after.settings.service
    total = sum(task.known < TaskStatus.STOPPED for task in after.tasks.values())
    most = math.floor(service.desired_count * service.maximum_percent / 100)
    assert total <= most, f"{total} tasks at {now}, the maximum is {most}"


def drain_comes_first(before: World, happened: Happened, after: World, now: float) -> None:
    """No stop signal while the target is registered, or before the full delay has passed."""
    if not isinstance(happened, c.SignalContainer):
        return
    task = before.tasks[happened.task_id]
    if task.registered_at is None:
        return
    assert task.address not in before.targets, f"SIGTERM at {now} to a task whose target is still there"
    assert task.deregistered_at is not None
    waited_s = now - task.deregistered_at
    delay_s = before.settings.target_group.deregistration_delay_s
    assert waited_s >= delay_s, f"SIGTERM {waited_s} s after deregistration, the delay is {delay_s} s"


def draining_is_for_good(before: World, happened: Happened, after: World, now: float) -> None:
    """A target that drains goes on draining until it is gone, and no node thinks better of it."""
    for key, target in before.targets.items():
        if target.draining_at is None or key not in after.targets:
            continue
        later = after.targets[key]
        assert later.draining_at == target.draining_at
        for node in target.nodes:
            was, known = (tg.node_state(x, node, now, after.rules) for x in (target, later))
            assert was is not tg.TargetState.DRAINING or known is tg.TargetState.DRAINING


def nothing_is_orphaned(before: World, happened: Happened, after: World, now: float) -> None:
    """Every living task has its deployment, every target its task."""
    known = {x.id for x in after.deployments}
    assert all(x.deployment_id in known for x in after.tasks.values() if x.known is not TaskStatus.STOPPED)
    for target in after.targets.values():
        assert not after.tasks[target.task_id].container_removed


def one_deployment_is_primary(before: World, happened: Happened, after: World, now: float) -> None:
    statuses = [x.status for x in after.deployments]
    assert statuses == [DeploymentStatus.PRIMARY] + [DeploymentStatus.ACTIVE] * (len(statuses) - 1)
    assert len({x.number for x in after.deployments}) == len(statuses)
    assert all(x.desired_count >= 0 and x.failed_tasks >= 0 for x in after.deployments)


def time_goes_on(before: World, happened: Happened, after: World, now: float) -> None:
    """Events in order, and a task's timestamps in the order of its life (API-ECS Task)."""
    if isinstance(happened, c.EmitServiceEvent):
        at = [x.at for x in after.service_events[-2:]]
        assert at == sorted(set(at))
    task = after.tasks.get(getattr(happened, "task_id", ""))
    if task is not None:
        life = [task.created_at, task.connectivity_at, task.pull_started_at, task.pull_stopped_at]
        life += [task.started_at, task.stopping_at, task.execution_stopped_at, task.stopped_at]
        told = [x for x in life if x is not None]
        assert told == sorted(told), told


LAWS = (
    floor_holds,
    ceiling_holds,
    drain_comes_first,
    draining_is_for_good,
    nothing_is_orphaned,
    one_deployment_is_primary,
    time_goes_on,
)

# --- the end of every rollout ----------------------------------------------------------------------------------


def has_ended(world: World, now: float) -> bool:
    """COMPLETED and steady, or named stuck. (A FAILED one has ended too, but is not an end to stay at.)"""
    if is_stuck(world, now):
        said = " ".join(x.message for x in world.service_events)
        return "was unable to stop or start tasks" in said or "tasks under protection" in said
    return world.primary.rollout_state is RolloutState.COMPLETED and world.is_steady


def nothing_is_left(play: Play) -> None:
    """After a steady state and the longest drain: the desired tasks, their targets, and nothing else."""
    world = play.world
    alive = [x for x in world.tasks.values() if x.known is not TaskStatus.STOPPED]
    assert [x.known for x in alive] == [TaskStatus.RUNNING] * world.settings.service.desired_count
    assert {x.address for x in alive} == set(world.targets)
    assert all(x.container_removed for x in world.tasks.values() if x.known is TaskStatus.STOPPED)
    assert len(world.deployments) == 1


# --- the machine ---------------------------------------------------------------------------------------------------

PERCENTS = [(100, 200), (100, 200), (50, 200), (50, 100), (0, 100), (0, 200), (100, 150), (75, 125), (100, 125)]
BAD = {
    "cannot be pulled": Behaviour(starts_after_s=None),
    "exits at start": Behaviour(crashes_after_s=0.1, exit_code=1),
    "exits once running": Behaviour(crashes_after_s=25.0, exit_code=1),
    "never listens": Behaviour(answers_after_s=math.inf),
    "answers 503": Behaviour(health_status=503),
}
GOOD = {
    "quick": Behaviour(),
    "slow to start": Behaviour(starts_after_s=20.0, answers_after_s=15.0),
    "ignores SIGTERM": Behaviour(exits_on_sigterm_after_s=None),
}
BREAKERS = [
    CircuitBreaker(),
    CircuitBreaker(enable=True),
    CircuitBreaker(enable=True, rollback=True),
    CircuitBreaker(True, True, ThresholdType.COUNT, 2, reset_on_healthy_task=False),
]
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
        play.deploy(self.revision + 1, Behaviour())
        play.run_until(lambda world: has_ended(world, play.now), at_most_s=10_800)
        if not is_stuck(play.world, play.now):
            play.run(700)
            nothing_is_left(play)


_COUNTED = {"running": {"RUNNING"}, "pending": {"PROVISIONING", "PENDING", "ACTIVATING"}}

TestRollouts = Rollouts.TestCase
TestRollouts.settings = PROFILE
