"""Deployments that do not work: failedTasks, the circuit breaker, rollback, and the restart throttle."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.deployment import RolloutState
from rollproof.core.settings import CircuitBreaker, ThresholdType
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from tests.core.play import Behaviour, Play, settings
from tests.core.test_service_replacement import crash
from tests.core.test_service_rolling import batches, steady

ON = CircuitBreaker(enable=True)
ROLLBACK = CircuitBreaker(enable=True, rollback=True)
NO_IMAGE = Behaviour(starts_after_s=None)
EXITS = Behaviour(crashes_after_s=0.5)
NEVER_LISTENS = Behaviour(answers_after_s=math.inf)


@pytest.mark.fidelity("ECS-DEPLOY-38", "ECS-EVENT-17", "ECS-EVENT-18", "ECS-EVENT-20", "ECS-EVENT-29")
def test_bad_image_rolls_back_to_the_last_completed_deployment_under_its_own_id() -> None:
    play = steady(circuit_breaker=ROLLBACK)
    first = play.world.primary
    play.deploy(2, NO_IMAGE).run(200)
    assert play.events()[2:] == [
        "    12.0  has started 2 tasks: t3 t4.",
        "    32.0  is unable to consistently start tasks successfully.",
        "    52.0  has started 2 tasks: t5 t6.",
        "    72.0  B deployment failed: tasks failed to start.",
        "    72.0  rolling back to deployment A.",
        "    92.0  A deployment completed.",
        "    92.0  has reached a steady state.",
    ]
    failed, rolling_back = [x for x in play.world.service_events if "fail" in x.message or "rolling" in x.message]
    assert rolling_back.at - failed.at == pytest.approx(0.001)
    assert [x.id for x in play.world.deployments] == [first.id]
    assert play.world.settings.task_definition.revision == 1
    assert play.tasks() == ["t1", "t2"]


@pytest.mark.fidelity("ECS-TASK-26", source="API-ECS Task", mark="doc")
def test_task_that_cannot_start_says_so() -> None:
    task = Play(settings(desired=1), behaviours={"mcp-server:1": NO_IMAGE}).run(50).task("t1")
    assert (task.stop_code, task.exit_code, task.started_at) == ("TaskFailedToStart", None, None)
    assert task.stopped_reason.startswith("CannotPullContainerError")


def test_rollback_is_in_progress_until_the_failed_tasks_are_gone() -> None:
    play = steady(circuit_breaker=ROLLBACK)
    play.deploy(2, NO_IMAGE).run(75)
    back, failed = play.world.deployments
    assert (back.rollout_state, back.status, back.is_rolling_back) == ("IN_PROGRESS", "PRIMARY", True)
    assert (failed.rollout_state, failed.status, failed.desired_count) == ("FAILED", "ACTIVE", 0)
    assert "rolling back to deploymentId" in back.rollout_state_reason


@pytest.mark.fidelity("ECS-DEPLOY-36", "ECS-EVENT-17")
def test_server_that_never_listens_is_running_and_fails_by_its_health_checks() -> None:
    play = steady(circuit_breaker=ROLLBACK, delay_s=30.0)
    play.deploy(2, NEVER_LISTENS).run(80)
    assert play.world.primary.has_run
    assert play.world.primary.failed_tasks == 2
    play.run_until_steady()
    said = [x.split("  ")[-1] for x in play.events()]
    assert said.index("B deployment failed: tasks failed to start.") + 1 == said.index("rolling back to deployment A.")
    assert said[-2:] == ["A deployment completed.", "has reached a steady state."]
    assert play.tasks() == ["t1", "t2"]
    assert "-2" not in batches(play)[:1]  # the old tasks never left


def test_old_tasks_serve_all_through_a_failed_deployment() -> None:
    play = steady(circuit_breaker=ROLLBACK)
    play.checks.append(lambda before, happened, after, now: _at_least_two_healthy(after))
    play.deploy(2, NEVER_LISTENS).run(1_500)
    assert play.world.is_steady


def _at_least_two_healthy(world: object) -> None:
    first_two = list(world.tasks.values())[:2]  # type: ignore[attr-defined]
    assert [x.known for x in first_two] == [TaskStatus.RUNNING] * 2


@pytest.mark.fidelity("ECS-DEPLOY-3", "ECS-DEPLOY-37")
def test_failure_without_rollback_starts_nothing_more_and_leaves_the_old_tasks() -> None:
    play = steady(circuit_breaker=ON)
    play.deploy(2, NO_IMAGE).run(2_000)
    assert play.events()[-1] == "    72.0  B deployment failed: tasks failed to start."
    assert [(x.status, x.rollout_state) for x in play.world.deployments] == [
        ("PRIMARY", "FAILED"),
        ("ACTIVE", "COMPLETED"),
    ]
    assert play.tasks() == ["t1", "t2"]
    assert not play.world.is_steady


def test_old_revision_is_kept_at_its_count_while_the_failed_one_is_primary() -> None:
    play = steady(desired=4, minimum=25, maximum=200, circuit_breaker=ON, delay_s=5.0)
    play.deploy(2, NO_IMAGE).run(200)  # three of four old ones were stopped before it failed
    crash(play, play.tasks()[0]).run(200)
    assert [play.task(x).definition for x in play.tasks()] == ["mcp-server:1"]


def test_deployment_after_a_failed_one_completes() -> None:
    play = steady(circuit_breaker=ON, delay_s=30.0)
    play.deploy(2, NO_IMAGE).run(200)
    play.deploy(3).run_until_steady()
    assert [play.task(x).definition for x in play.tasks()] == ["mcp-server:3"] * 2
    assert len(play.world.deployments) == 1


def test_failure_with_nothing_to_roll_back_to_stays_failed() -> None:
    play = Play(settings(circuit_breaker=ROLLBACK), behaviours={"mcp-server:1": NO_IMAGE}).run(500)
    assert play.events()[-1] == "    72.0  A deployment failed: tasks failed to start."
    assert play.world.primary.rollout_state is RolloutState.FAILED
    play.deploy(2).run_until_steady()
    assert play.tasks() == ["t5", "t6"]


def test_rollback_after_old_tasks_were_partly_stopped_starts_them_again() -> None:
    play = steady(desired=4, minimum=50, maximum=100, circuit_breaker=ROLLBACK, delay_s=5.0)
    play.deploy(2, NO_IMAGE).run_until(lambda world: world.primary.is_rolling_back).run_until_steady()
    assert [play.task(x).definition for x in play.tasks()] == ["mcp-server:1"] * 4
    assert play.events()[-2:][0].endswith("A deployment completed.")


def test_second_failure_rolls_back_again_under_the_same_id() -> None:
    play = steady(circuit_breaker=ROLLBACK)
    play.deploy(2, NO_IMAGE).run_until(lambda world: world.primary.is_rolling_back).run_until_steady()
    play.mark().deploy(3, EXITS).run(300)
    assert [x.split("  ")[-1] for x in play.events()][-4:] == [
        "C deployment failed: tasks failed to start.",
        "rolling back to deployment A.",
        "A deployment completed.",
        "has reached a steady state.",
    ]


def test_rollback_whose_own_tasks_fail_is_not_failed_again() -> None:
    """There is nothing further back to return to; it goes on trying [inferred]."""
    play = steady(desired=2, minimum=0, maximum=100, circuit_breaker=ROLLBACK, delay_s=5.0)
    play.behaviours["mcp-server:1"] = NO_IMAGE
    play.deploy(2, NO_IMAGE).run(1_000)
    assert play.world.primary.is_rolling_back
    assert play.world.primary.rollout_state is RolloutState.IN_PROGRESS
    assert play.world.primary.start_failures > 3
    play.behaviours["mcp-server:1"] = Behaviour()
    play.run_until_steady()


# --- what counts ------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-DEPLOY-36", "ECS-DEPLOY-41")
def test_crash_loop_after_running_does_not_trip_the_breaker() -> None:
    play = steady(circuit_breaker=ROLLBACK, delay_s=30.0)
    play.deploy(2, Behaviour(crashes_after_s=20.0)).run(900)
    assert play.world.primary.rollout_state is RolloutState.IN_PROGRESS
    assert play.world.primary.failed_tasks == 0
    assert not any("unable to consistently" in x for x in play.events())


@pytest.mark.fidelity("ECS-DEPLOY-35", source="ECS-DG/deployment-circuit-breaker", mark="doc")
def test_start_failures_count_only_until_one_task_is_running() -> None:
    play = steady(circuit_breaker=CircuitBreaker(True, True, reset_on_healthy_task=False), delay_s=30.0)
    play.deploy(2)
    play.run(12)
    play.exceptions[play.task("t3").id] = Behaviour()
    play.behaviours["mcp-server:2"] = NO_IMAGE
    play.run(1_000)
    assert play.world.primary.has_run
    assert play.world.primary.failed_tasks == 1  # t4, before t3 was RUNNING
    assert play.world.primary.start_failures > 2  # the throttle counts on
    assert play.world.primary.rollout_state is RolloutState.IN_PROGRESS


@pytest.mark.fidelity("ECS-DEPLOY-8", "ECS-DEPLOY-33")
@pytest.mark.parametrize(("resets", "failed_tasks"), [(True, 0), (False, 1)])
def test_healthy_task_forgives_failures_if_set(resets: bool, failed_tasks: int) -> None:
    play = steady(circuit_breaker=CircuitBreaker(True, True, reset_on_healthy_task=resets))
    play.deploy(2).run(12)
    play.exceptions[play.task("t4").id] = NO_IMAGE
    play.run(40)
    assert play.world.primary.failed_tasks == failed_tasks


@pytest.mark.fidelity("ECS-DEPLOY-31", source="API-ECS DeploymentCircuitBreaker; CLI-EX", mark="doc")
@pytest.mark.parametrize(
    ("breaker", "desired", "fails_after"),
    [
        pytest.param(ON, 1, 3, id="bounded_one_task"),
        pytest.param(ON, 8, 4, id="bounded_eight_tasks"),
        pytest.param(CircuitBreaker(True, threshold_type=ThresholdType.COUNT, threshold_value=2), 1, 2, id="count_2"),
        pytest.param(
            CircuitBreaker(True, threshold_type=ThresholdType.UNBOUNDED_PERCENT, threshold_value=100),
            1,
            1,
            id="unbounded_one_task",
        ),
    ],
)
def test_breaker_trips_at_its_threshold(breaker: CircuitBreaker, desired: int, fails_after: int) -> None:
    play = steady(desired=desired, maximum=200 if desired == 1 else 125, circuit_breaker=breaker)
    play.deploy(2, NO_IMAGE).run_until(lambda world: world.primary.rollout_state is RolloutState.FAILED)
    assert len(play.when(c.CountFailure)) == fails_after


def test_failures_of_a_completed_deployment_are_not_evaluated() -> None:
    play = steady(delay_s=5.0, circuit_breaker=ROLLBACK)
    play.behaviours["mcp-server:1"] = NO_IMAGE
    crash(play, "t1").run(1_000)
    assert play.world.primary.failed_tasks == 0
    assert play.world.primary.rollout_state is RolloutState.COMPLETED
    assert play.world.primary.start_failures > 2


# --- the throttle ------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-DEPLOY-40", source="ECS-DG/service-throttle-logic", mark="doc")
def test_starts_that_never_run_come_ever_more_slowly() -> None:
    play = steady(desired=1)
    play.deploy(2, NO_IMAGE).run(4_000)
    starts = play.when(c.StartTask)
    pauses = [b - a for a, b in pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(920, abs=10)  # 900 s and the start itself
    assert sum("unable to consistently" in x for x in play.events()) == 1


@pytest.mark.fidelity("ECS-DEPLOY-41", source="ECS-DG/service-throttle-logic", mark="doc")
def test_throttle_ends_with_the_first_task_that_runs() -> None:
    play = steady(desired=1, delay_s=30.0)
    play.deploy(2, NO_IMAGE).run(700)
    assert play.world.primary.start_failures > 2
    play.behaviours["mcp-server:2"] = Behaviour()
    play.run_until_steady()
    assert play.world.primary.start_failures == 0


def test_update_during_the_throttle_does_not_wait_for_it() -> None:
    play = steady(desired=1, delay_s=30.0)
    play.deploy(2, NO_IMAGE).run(2_000).mark()
    play.deploy(3).run(60)
    assert play.when(c.StartTask) == [12.0]


@pytest.mark.fidelity("ECS-DEPLOY-14", "ECS-EVENT-2")
def test_events_that_last_are_said_again_after_six_hours() -> None:
    assert Timing().event_repeat_s == 6 * 3_600
    often = Timing(event_repeat_s=600.0)
    play = Play(settings(desired=1, minimum=100, maximum=100), often).run_until_steady().mark()
    play.update(force_new_deployment=True).run(700)
    assert [x.split()[0] for x in play.events()[2:]] == ["12.0", "612.0"]
    calm = Play(settings(desired=1), often).run_until_steady().mark().run(1_300)
    assert [x.split()[0] for x in calm.events() if "steady" in x] == ["0.0", "610.0", "1210.0"]


def test_late_report_of_a_task_that_is_forgotten_changes_nothing() -> None:
    play = steady(desired=1, delay_s=30.0)
    old = play.task("t1")
    play.update(force_new_deployment=True).run(4_000)
    assert old.id not in play.world.tasks
    before = play.world
    play.tell(e.ContainerExited(old.id, 143)).run(0)
    assert play.world == before


def test_failed_health_check_of_a_superseded_deployment_counts_for_itself_only() -> None:
    play = steady(circuit_breaker=replace(ROLLBACK), delay_s=30.0)
    play.deploy(2, NEVER_LISTENS).run(60)
    play.deploy(3).run_until_steady()
    assert play.world.primary.failed_tasks == 0
    assert play.world.settings.task_definition.revision == 3
