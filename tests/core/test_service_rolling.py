"""Rolling deployments, told as timelines: who is started and stopped, in which batches, in what order and words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rollproof.core import commands as c
from rollproof.core.deployment import RolloutState
from rollproof.core.events import ContainerHealthChanged
from rollproof.core.messages import stuck
from rollproof.core.service_end import is_stuck
from rollproof.core.settings import ContainerHealthCheck
from rollproof.core.task import DesiredStatus, TaskStatus
from rollproof.core.timing import Timing
from tests.core.play import Behaviour, Play, settings
from tests.core.test_deployment import DESIRED, LIMITS

IGNORES_SIGTERM = Behaviour(exits_on_sigterm_after_s=None)


def steady(**knobs: object) -> Play:
    """A service that has just reached its first steady state; timelines count from here."""
    return Play(settings(**knobs)).run_until_steady().mark()  # type: ignore[arg-type]


def batches(play: Play) -> list[str]:
    """Starts and stops as "+2", "-2", in order."""
    found = [re.search(r"has (started|stopped) (\d+)", line) for line in play.events()]
    return [f"{'+' if x[1] == 'started' else '-'}{x[2]}" for x in found if x]


# --- the reference rollout --------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-ROLL-15", "ECS-TASK-19", "ECS-EVENT-4", "ECS-EVENT-5", "ECS-EVENT-7", "ECS-EVENT-9")
@pytest.mark.fidelity("ECS-EVENT-10", "ECS-EVENT-11", "ECS-EVENT-16", "ECS-EVENT-30", "TRAP-3")
def test_forced_deployment_one_task() -> None:
    play = steady(desired=1, delay_s=30.0)
    play.update(force_new_deployment=True).run(600)
    assert play.events() == [
        "     0.0  A deployment completed.",
        "     0.0  has reached a steady state.",
        "    12.0  has started 1 tasks: t2.",
        "    32.0  registered 1 targets",
        "    82.0  has stopped 1 running tasks: t1.",
        "    92.0  deregistered 1 targets",
        "    92.0  taskSet A has begun draining connections on 1 tasks.",
        "   152.0  B deployment completed.",
        "   152.0  has reached a steady state.",
    ]


@pytest.mark.fidelity("ECS-EVENT-28", source="O6; O13", mark="observed")
def test_completed_is_said_one_millisecond_before_steady() -> None:
    play = steady(desired=1)
    completed, reached = play.world.service_events[-2:]
    assert completed.message.endswith("deployment completed.")
    assert reached.message.endswith("has reached a steady state.")
    assert reached.at - completed.at == pytest.approx(0.001)


@pytest.mark.fidelity("ECS-TASK-6", "ECS-TASK-7", "ECS-TASK-8", "ECS-TASK-9", "TRAP-1", "TRAP-2")
@pytest.mark.parametrize("delay_s", [0.0, 5.0, 30.0, 300.0, 3600.0])
def test_stop_signal_comes_on_the_next_pass_after_the_full_delay(delay_s: float) -> None:
    play = steady(desired=1, delay_s=delay_s)
    play.update(force_new_deployment=True).run(delay_s + 300)
    [deregistered] = play.when(c.DeregisterTarget, "t1")
    [signalled] = play.when(c.SignalContainer, "t1")
    assert 0 <= signalled - (deregistered + Timing().drain_visible_s + delay_s) <= Timing().scheduler_tick_s
    assert play.world.is_steady


@pytest.mark.fidelity("ECS-TASK-20", "ECS-TASK-39")
def test_container_that_ignores_the_signal_is_killed_after_its_stop_timeout() -> None:
    play = Play(settings(desired=1, delay_s=30.0, stop_timeout_s=45.0), behaviours={"mcp-server:1": IGNORES_SIGTERM})
    play.run_until_steady().mark().deploy(2).run(600)
    [signalled], [killed] = play.when(c.SignalContainer, "t1"), play.when(c.KillContainer, "t1")
    assert killed - signalled == 45.0
    task = play.task("t1")
    assert (task.exit_code, task.known) == (137, TaskStatus.STOPPED)
    assert task.stopped_at == play.zero + killed + Timing().deprovisioning_s


@pytest.mark.fidelity("ECS-DEPLOY-6", "ECS-TASK-26", "ECS-TASK-27")
def test_replaced_task_says_why_it_stopped() -> None:
    play = steady(desired=1, delay_s=30.0)
    old = play.world.primary.id
    play.update(force_new_deployment=True).run_until(lambda world: world.is_steady)
    task = play.task("t1")
    assert task.stop_code == "ServiceSchedulerInitiated"
    assert task.stopped_reason == f"Scaling activity initiated by (deployment {old})"
    assert (task.exit_code, task.desired, task.deployment_id) == (143, DesiredStatus.STOPPED, old)


@pytest.mark.fidelity("TIMELINE-4", "ECS-TASK-2", "ECS-TASK-4", "TRAP-11", "TRAP-13")
def test_new_task_gets_requests_before_it_is_running() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(32 + 5)
    assert play.task("t2").known is TaskStatus.ACTIVATING
    assert play.table() == {"node-0": ["t1", "t2"], "node-1": ["t1", "t2"]}


@pytest.mark.fidelity("TIMELINE-1", "ECS-DEPLOY-1", "ECS-DEPLOY-7")
def test_new_deployment_begins_at_desired_zero() -> None:
    play = steady()
    play.update(force_new_deployment=True)
    new, old = play.world.deployments
    assert (new.status, new.desired_count, new.rollout_state) == ("PRIMARY", 0, "IN_PROGRESS")
    assert (old.status, old.desired_count, old.rollout_state) == ("ACTIVE", 2, "COMPLETED")
    play.run(12)
    assert [x.desired_count for x in play.world.deployments] == [2, 2]
    play.run(70)
    assert [x.desired_count for x in play.world.deployments] == [2, 0]
    play.run(340)
    assert [x.status for x in play.world.deployments] == ["PRIMARY"]


@pytest.mark.fidelity("ECS-TASK-41", "TRAP-9")
def test_runtime_hears_nothing_of_a_drain_until_sigterm() -> None:
    """No order goes to the container between the decision to stop it, at 82, and the end of the delay."""
    play = steady(desired=1)
    old = play.task("t1").id
    play.update(force_new_deployment=True).run(380)
    assert (play.task("t1").known, play.states()["t1"]) == (TaskStatus.DEACTIVATING, "draining")
    play.run(120)
    of_the_runtime = (c.StartContainer, c.SignalContainer, c.KillContainer, c.RemoveContainer)
    told = [(at - play.zero, type(x).__name__) for at, x in play.orders if isinstance(x, of_the_runtime)
            and x.task_id == old and at >= play.zero]  # fmt: skip
    assert [name for _, name in told] == ["SignalContainer", "RemoveContainer"]
    assert told[0][0] == 402.0


@pytest.mark.fidelity("ECS-TASK-11", source="O1", mark="inferred")
def test_no_new_request_can_come_between_the_nodes_learning_and_sigterm() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(108)
    learned_at = play.now
    while not play.when(c.SignalContainer, "t1"):
        assert play.table() == {"node-0": ["t2"], "node-1": ["t2"]}
        play.run(1)
    assert play.now - learned_at > 0.9 * 300


@pytest.mark.fidelity("TRAP-12", source="O7", mark="observed")
def test_all_old_targets_drain_at_the_same_moment() -> None:
    play = steady(desired=4)
    play.update(force_new_deployment=True).run(95)
    draining = [x.draining_at for x in play.world.targets.values() if x.draining_at is not None]
    assert len(draining) == 4
    assert len(set(draining)) == 1


@pytest.mark.fidelity("ECS-DEPLOY-2", "ECS-DEPLOY-15", "ALB-HEALTH-14")
def test_completion_waits_for_the_previous_tasks_to_be_gone() -> None:
    """O6: 410 s after draining began, at a delay of 300 s. API-ECS DeploymentEarlySuccessCriteria."""
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(400)
    assert play.world.primary.rollout_state == "IN_PROGRESS"
    assert play.states() == {"t2": "healthy"}  # the old target is gone already, its task is not
    play.run(60)
    assert play.world.primary.rollout_state == "COMPLETED"


# --- batches ------------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-ROLL-9", "ECS-ROLL-10", "ECS-EVENT-23")
@pytest.mark.parametrize("column", range(len(DESIRED)), ids=[f"desired_{n}" for n in DESIRED])
@pytest.mark.parametrize("percents", LIMITS, ids=lambda x: f"{x[0]}_{x[1]}")
def test_rollout_completes_unless_floor_and_ceiling_meet(percents: tuple[int, int], column: int) -> None:
    desired, (floor, ceiling) = DESIRED[column], LIMITS[percents][column]
    play = Play(
        settings(desired=desired, minimum=percents[0], maximum=percents[1], delay_s=5.0), tells_story=False
    ).run_until_steady()
    play.update(force_new_deployment=True)
    if floor == desired == ceiling:
        play.run(600)
        assert is_stuck(play.world, play.now)
        said = [x.message for x in play.world.service_events]
        assert said.count(stuck("mcp-service")) == 1
        assert said[-1] == stuck("mcp-service")
        assert all(x.deployment_id == play.world.deployments[1].id for x in play.world.tasks.values())
    else:
        play.run_until_steady()
        assert play.world.primary.rollout_state is RolloutState.COMPLETED
        assert not is_stuck(play.world, play.now)


@pytest.mark.fidelity("ECS-ROLL-11", "ECS-ROLL-12", "ECS-ROLL-13", "ECS-ROLL-22", "TRAP-12")
@pytest.mark.parametrize(
    ("desired", "minimum", "maximum", "expected"),
    [
        pytest.param(2, 100, 200, ["+2", "-2"], id="start_first_all_at_once"),
        pytest.param(10, 100, 200, ["+10", "-10"], id="start_first_all_ten_at_once"),
        pytest.param(4, 100, 150, ["+2", "-2", "+2", "-2"], id="start_first_in_halves"),
        pytest.param(5, 100, 120, ["+1", "-1"] * 5, id="start_first_one_by_one"),
        pytest.param(5, 50, 100, ["-2", "+2", "-2", "+2", "-1", "+1"], id="stop_first_2_2_1"),
        pytest.param(2, 50, 100, ["-1", "+1", "-1", "+1"], id="stop_first_one_by_one"),
        pytest.param(5, 0, 100, ["-5", "+5"], id="stop_first_all_at_once"),
        pytest.param(2, 0, 200, ["-2", "+2"], id="stop_and_start_in_one_pass"),
        pytest.param(2, 50, 200, ["-1", "+2", "-1"], id="start_all_while_half_stop"),
        pytest.param(4, 75, 125, ["-1", "+1"] * 4, id="start_and_stop_in_turn"),
    ],
)
def test_rollout_goes_in_batches(desired: int, minimum: int, maximum: int, expected: list[str]) -> None:
    play = steady(desired=desired, minimum=minimum, maximum=maximum, delay_s=30.0)
    play.update(force_new_deployment=True).run_until_steady()
    assert batches(play) == expected


@pytest.mark.fidelity("ECS-ROLL-4", "ECS-ROLL-13", "TRAP-14")
def test_stop_first_waits_until_the_batch_is_stopped_then_until_it_is_healthy() -> None:
    """O4, O8: what drains counts to the maximum."""
    play = steady(desired=2, minimum=50, maximum=100, delay_s=30.0)
    play.update(force_new_deployment=True).run(600)
    assert play.events()[2:] == [
        "    12.0  has stopped 1 running tasks: t1.",
        "    22.0  deregistered 1 targets",
        "    22.0  taskSet A has begun draining connections on 1 tasks.",
        "    82.0  has started 1 tasks: t3.",
        "   102.0  registered 1 targets",
        "   152.0  has stopped 1 running tasks: t2.",
        "   162.0  deregistered 1 targets",
        "   162.0  taskSet A has begun draining connections on 1 tasks.",
        "   222.0  has started 1 tasks: t4.",
        "   242.0  registered 1 targets",
        "   292.0  B deployment completed.",
        "   292.0  has reached a steady state.",
    ]


@pytest.mark.fidelity("ECS-ROLL-14", source="O3", mark="observed")
def test_nothing_is_held_back_at_zero_and_two_hundred_percent() -> None:
    play = steady(desired=2, minimum=0, maximum=200, delay_s=30.0)
    play.update(force_new_deployment=True).run(13)
    assert play.events()[2:] == [
        "    12.0  has stopped 2 running tasks: t1 t2.",
        "    12.0  has started 2 tasks: t3 t4.",
    ]


# --- when is a new task healthy --------------------------------------------------------------------------------------

CHECKED = ContainerHealthCheck(command=("CMD", "true"))


@pytest.mark.fidelity("ECS-ROLL-5", "ECS-ROLL-6", "ECS-ROLL-7")
@pytest.mark.parametrize(
    ("has_load_balancer", "check", "stops_at"),
    [
        # started at 12; with a balancer registered at 32 and RUNNING at 40.5, without RUNNING at 32; then the bake
        pytest.param(True, None, 82.0, id="balancer"),
        pytest.param(False, None, 72.0, id="no_balancer_no_check_40_s"),
        pytest.param(False, CHECKED, 62.0, id="no_balancer_container_check_no_bake"),
        pytest.param(True, CHECKED, 82.0, id="balancer_and_container_check"),
    ],
)
def test_new_task_counts_once_it_is_healthy(
    has_load_balancer: bool, check: ContainerHealthCheck | None, stops_at: float
) -> None:
    play = Play(settings(desired=1, has_load_balancer=has_load_balancer, container_check=check)).run(40)
    play.tell(ContainerHealthChanged(play.task("t1").id, True)).run_until_steady().mark()
    play.update(force_new_deployment=True).run(60)
    assert play.when(c.StopTask) == []  # container check: not a word from it yet
    play.tell(ContainerHealthChanged(play.task("t2").id, True)).run(60)
    assert play.when(c.StopTask, "t1") == [stops_at]


def test_service_without_a_balancer_signals_at_once() -> None:
    play = steady(desired=1, has_load_balancer=False)
    play.update(force_new_deployment=True).run(300)
    assert play.events()[2:] == [
        "    12.0  has started 1 tasks: t2.",
        "    72.0  has stopped 1 running tasks: t1.",
        "    92.0  B deployment completed.",
        "    92.0  has reached a steady state.",
    ]
    assert play.world.targets == {}


def test_new_task_that_is_slow_to_answer_delays_the_stop() -> None:
    play = steady(delay_s=30.0)
    patient = replace(play.settings.target_group.health_check, unhealthy_threshold=10)
    group = replace(play.settings.target_group, health_check=patient)
    play.world = replace(play.world, settings=replace(play.settings, target_group=group))
    play.deploy(2, Behaviour(answers_after_s=70.0)).run(125)  # RUNNING at 40.5, healthy at 124
    assert play.when(c.StopTask) == []
    play.run(10)
    assert play.when(c.StopTask) == [132.0, 132.0]
