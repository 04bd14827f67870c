"""Tasks lost outside a plan: unhealthy ones, crashes, StopTask, and what replaces them, with a rollout or without."""

from __future__ import annotations

import math

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.settings import HealthCheck
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from tests.core.play import Behaviour, Play, settings
from tests.core.test_service_rolling import CHECKED, IGNORES_SIGTERM, batches, steady

SICK = Behaviour(health_status=503)
HANGS = Behaviour(health_status=None)
REFUSES = Behaviour(answers_after_s=math.inf)


def fall_ill(play: Play, name: str, how: Behaviour = SICK) -> Play:
    play.exceptions[play.task(name).id] = how
    return play


def recover(play: Play, name: str) -> Play:
    del play.exceptions[play.task(name).id]
    return play


def crash(play: Play, name: str, exit_code: int = 1) -> Play:
    return play.tell(e.ContainerExited(play.task(name).id, exit_code)).run(0)


def stop(play: Play, name: str, reason: str = "") -> Play:
    return play.tell(e.TaskStopRequested(play.task(name).id, reason)).run(0)


# --- unhealthy -----------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-ROLL-8", "ECS-ROLL-19", "ECS-TASK-28", "ECS-TASK-36", "ECS-EVENT-6", "ECS-EVENT-12")
@pytest.mark.fidelity("ALB-HEALTH-25")
def test_unhealthy_task_is_replaced_before_it_is_stopped() -> None:
    play = fall_ill(steady(), "t1").run(300)
    assert play.events()[2:] == [
        "    50.0  t1 is unhealthy due to (reason Health checks failed with these codes: [503]).",
        "    50.0  has started 1 tasks: t3. Amazon ECS replaced 1 tasks due to an unhealthy status.",
        "    70.0  registered 1 targets",
        "    80.0  has stopped 1 running tasks: t1.",
        "    90.0  deregistered 1 targets",
        "    90.0  taskSet A has begun draining connections on 1 tasks.",
        "   100.0  has reached a steady state.",
    ]
    assert play.task("t1").stopped_reason.startswith("Task failed ELB health checks in (target-group arn:aws:")
    assert play.task("t1").stop_code == "ServiceSchedulerInitiated"
    assert play.task("t3").deployment_id == play.task("t1").deployment_id


@pytest.mark.fidelity("ECS-EVENT-13", source="O11", mark="observed")
def test_unhealthy_task_that_hangs_says_request_timed_out() -> None:
    play = fall_ill(steady(), "t1", HANGS).run(60)
    assert play.events()[2] == "    50.0  t1 is unhealthy due to (reason Request timed out)."


@pytest.mark.fidelity("ECS-EVENT-14", source="O13", mark="observed")
def test_unhealthy_task_that_refuses_says_health_checks_failed() -> None:
    play = fall_ill(steady(), "t1", REFUSES).run(60)
    assert play.events()[2] == "    50.0  t1 is unhealthy due to (reason Health checks failed)."


@pytest.mark.fidelity("ECS-DEPLOY-16", source="O2", mark="observed")
def test_replacement_reaches_steady_state_while_the_old_task_drains() -> None:
    play = fall_ill(steady(), "t1").run(105)
    assert play.world.is_steady
    assert play.states()["t1"] == "draining"


@pytest.mark.fidelity("ECS-TASK-28", "ECS-TASK-35", "ECS-TASK-36", "ECS-EVENT-15")
def test_failed_container_check_replaces_the_task() -> None:
    play = Play(settings(container_check=CHECKED)).run(40)
    for name in ("t1", "t2"):
        play.tell(e.ContainerHealthChanged(play.task(name).id, True))
    play.run_until_steady().mark().tell(e.ContainerHealthChanged(play.task("t1").id, False)).run(20)
    assert play.events()[2:] == [
        "    10.0  t1 failed container health checks.",
        "    10.0  has started 1 tasks: t3. Amazon ECS replaced 1 tasks due to an unhealthy status.",
    ]
    assert play.task("t1").unhealthy_reason == "Task failed container health checks"


@pytest.mark.fidelity("ALB-HEALTH-18", source="ALB-UG/target-group-health-checks", mark="doc")
def test_flap_below_the_threshold_is_nothing() -> None:
    play = steady()
    fall_ill(play, "t1").run(30)
    recover(play, "t1").run(300)
    assert play.events()[2:] == []


def test_flap_above_the_threshold_still_replaces_the_task() -> None:
    play = steady()
    fall_ill(play, "t1").run(55)
    recover(play, "t1").run(600)
    assert batches(play) == ["+1", "-1"]
    assert play.tasks() == ["t2", "t3"]


@pytest.mark.fidelity("ECS-DEPLOY-27", "ECS-DEPLOY-30")
@pytest.mark.parametrize("grace_s", [0.0, 100.0])
def test_grace_period_counts_from_the_start_of_the_task(grace_s: float) -> None:
    play = Play(settings(health_check_grace_period_s=grace_s), behaviours={"mcp-server:1": SICK}).run(300)
    started_at = play.task("t1").started_at
    assert started_at is not None
    judged = min(play.when(c.JudgeUnhealthy))
    if grace_s:
        assert grace_s <= judged - started_at < grace_s + Timing().scheduler_tick_s
    else:
        assert judged - started_at < 60
    assert set(play.states().values()) <= {"unhealthy", "draining", "initial"}  # the ALB knows nothing of it


@pytest.mark.fidelity("ECS-DEPLOY-27", source="API-ECS CreateServiceRequest", mark="doc")
def test_grace_period_covers_the_container_check() -> None:
    play = Play(settings(container_check=CHECKED, health_check_grace_period_s=60.0)).run(45)
    play.tell(e.ContainerHealthChanged(play.task("t1").id, False)).run(50)
    assert play.when(c.JudgeUnhealthy) == []
    play.run(20)
    assert len(play.when(c.JudgeUnhealthy)) == 1


@pytest.mark.fidelity("ECS-ROLL-21", source="CR#2714", mark="observed")
def test_old_unhealthy_task_goes_when_its_replacement_fails_within_its_grace() -> None:
    play = steady(health_check_grace_period_s=300.0, delay_s=30.0).run(300).mark()
    play.behaviours["mcp-server:1"] = SICK
    fall_ill(play, "t2", Behaviour()).run(200)
    replacement = play.task("t3")
    assert replacement.started_at is not None
    assert play.now < replacement.started_at + 300
    assert len(play.when(c.StopTask, "t1")) == 1
    assert play.states()["t3"] == "unhealthy"
    assert play.tasks() == ["t2", "t3"]


@pytest.mark.fidelity("ECS-ROLL-20", source="API-ECS DeploymentConfiguration", mark="doc")
@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [
        pytest.param(50, 100, ["-1", "+1", "-1", "+1"], id="floor_of_two"),
        pytest.param(75, 100, ["-1", "+1", "-1", "+1"], id="floor_of_three"),
        pytest.param(100, 100, [], id="floor_of_all"),
    ],
)
def test_unhealthy_tasks_without_room_for_a_replacement(minimum: int, maximum: int, expected: list[str]) -> None:
    play = steady(desired=4, minimum=minimum, maximum=maximum, delay_s=5.0)
    fall_ill(fall_ill(play, "t1"), "t2").run(600)
    assert sorted(batches(play)) == sorted(expected)
    sick = [x.unhealthy_reason for x in play.world.tasks.values() if x.known is TaskStatus.RUNNING]
    assert any(sick) is (expected == [])


@pytest.mark.fidelity("ALB-HEALTH-28", "TRAP-18")
def test_all_unhealthy_fails_open_until_they_recover() -> None:
    play = steady()
    fall_ill(fall_ill(play, "t1"), "t2").run(45)
    assert set(play.states().values()) == {"unhealthy"}
    assert play.table() == {"node-0": ["t1", "t2"], "node-1": ["t1", "t2"]}


def test_unhealthy_task_is_stopped_at_once_when_the_desired_count_no_longer_needs_it() -> None:
    play = steady(desired=3, minimum=0, maximum=400, delay_s=30.0)
    fall_ill(play, "t1").run(52)  # t4 is on its way for it
    play.update(desired_count=1).run(200)
    assert play.tasks() == ["t2"] or play.tasks() == ["t3"]
    assert play.world.is_steady


def found_out_after_s(how: Behaviour) -> float:
    """Seconds until t1's target shows unhealthy, at interval 10, timeout 5 and threshold 2."""
    check = HealthCheck(interval_s=10.0, timeout_s=5.0, unhealthy_threshold=2)
    play = fall_ill(Play(settings(health_check=check)).run_until_steady().mark(), "t1", how)
    while play.states()["t1"] != "unhealthy":
        play.run(0.1)
        assert play.now < play.zero + 60
    return play.now - play.zero


@pytest.mark.fidelity("ALB-HEALTH-24", source="O2", mark="observed")
def test_hang_is_found_out_later_than_a_crash() -> None:
    refuses, hangs = found_out_after_s(REFUSES), found_out_after_s(HANGS)
    assert 10.0 <= refuses <= 20.0  # a check in each node's phase, and the one after it
    assert hangs - refuses == pytest.approx(5.0, abs=0.2)


# --- crashes ------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-DEPLOY-13", "ECS-TASK-16", "ECS-TASK-26", "ECS-TASK-28", "ECS-TASK-30")
def test_crashed_task_is_deregistered_then_replaced() -> None:
    play = crash(steady(), "t1").run(120)
    assert play.events()[2:] == [
        "    10.0  deregistered 1 targets",
        "    20.0  taskSet A has begun draining connections on 1 tasks.",
        "    20.0  has started 1 tasks: t3.",
        "    40.0  registered 1 targets",
        "    50.0  has reached a steady state.",
    ]
    task = play.task("t1")
    assert (task.stop_code, task.stopped_reason) == ("EssentialContainerExited", "Essential container in task exited")
    assert (task.exit_code, task.known) == (1, TaskStatus.STOPPED)


@pytest.mark.fidelity("ECS-TASK-17", "TRAP-17")
def test_crashed_task_gets_requests_until_the_nodes_know() -> None:
    play = crash(steady(), "t1")
    assert "t1" in play.table()["node-0"]
    play.run(30)
    assert all("t1" not in known for known in play.table().values())


@pytest.mark.fidelity("ECS-TASK-25", source="O12", mark="observed")
def test_crash_says_the_reason_that_the_runtime_gives() -> None:
    play = steady()
    reason = "OutOfMemoryError: container killed due to memory usage"
    play.tell(e.ContainerExited(play.task("t1").id, 137, reason)).run(0)
    assert (play.task("t1").exit_code, play.task("t1").stopped_reason) == (137, reason)


def test_crash_of_a_draining_task_is_no_loss() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(150)
    assert play.states() == {"t1": "draining", "t2": "healthy"}
    crash(play, "t1").run(600)
    assert batches(play) == ["+1", "-1"]
    assert play.when(c.SignalContainer) == []
    assert play.task("t1").stop_code == "ServiceSchedulerInitiated"
    assert play.world.is_steady


def test_crash_between_the_decision_and_the_drain_still_deregisters() -> None:
    play = steady(desired=1, delay_s=30.0)
    play.update(force_new_deployment=True).run(85)
    assert play.task("t1").known is TaskStatus.DEACTIVATING
    crash(play, "t1").run(10)
    assert play.states()["t1"] == "draining"
    play.run(60)
    assert play.world.is_steady
    assert play.states() == {"t2": "healthy"}


@pytest.mark.fidelity("ECS-ROLL-17", source="WN-2025-11", mark="doc")
def test_crash_of_an_old_task_while_new_ones_start_is_made_good_by_the_old_revision() -> None:
    play = steady(delay_s=30.0)
    play.deploy(2, Behaviour(answers_after_s=25.0)).run(20)
    crash(play, "t1").run(25)
    assert play.task("t5").definition == "mcp-server:1"
    play.run_until_steady()
    assert {play.world.tasks[x.id].definition for x in map(play.task, play.tasks())} == {"mcp-server:2"}


def test_crash_of_an_old_task_above_the_floor_is_not_made_good() -> None:
    play = steady(desired=2, minimum=50, maximum=200, delay_s=30.0)
    play.deploy(2).run(20)
    crash(play, "t2").run_until_steady()  # a new one is healthy by the time it is to be made good
    assert sorted(x.definition for x in play.world.tasks.values()) == ["mcp-server:1"] * 2 + ["mcp-server:2"] * 2


def test_crash_of_a_new_task_is_made_good_by_the_new_revision() -> None:
    play = steady(delay_s=30.0)
    play.deploy(2).run(45)
    crash(play, "t3").run_until_steady()
    assert play.task("t5").definition == "mcp-server:2"
    assert play.world.primary.failed_tasks == 0  # it had been RUNNING


# --- whatever the cause -------------------------------------------------------------------------------------

CAUSES = {
    "deployment": lambda play: play.update(force_new_deployment=True),
    "scale_in": lambda play: play.update(desired_count=1),
    "unhealthy": lambda play: fall_ill(play, "t1"),
    "stop_task": lambda play: stop(play, "t1"),
}


@pytest.mark.fidelity("ECS-DEPLOY-48", "ECS-TASK-10", "ECS-TASK-12")
@pytest.mark.parametrize(
    ("cause", "gone"),
    [("deployment", ["t1", "t2"]), ("scale_in", ["t2"]), ("unhealthy", ["t1"]), ("stop_task", ["t1"])],
)
def test_whatever_stops_a_task_sigterm_waits_for_the_full_delay(cause: str, gone: list[str]) -> None:
    play = steady(delay_s=100.0)
    CAUSES[cause](play)
    play.run(400)
    for name in gone:
        [deregistered], [signalled] = play.when(c.DeregisterTarget, name), play.when(c.SignalContainer, name)
        assert 100.0 <= signalled - deregistered <= 100.0 + Timing().drain_visible_s + Timing().scheduler_tick_s
    assert len(play.when(c.SignalContainer)) == len(gone)


@pytest.mark.fidelity("TRAP-19", source="API-ECS CreateServiceRequest; ECS-DG/task-maintenance", mark="doc")
@pytest.mark.parametrize(("cause", "gone"), [("scale_in", "t2"), ("unhealthy", "t1"), ("stop_task", "t1")])
def test_tasks_go_without_any_deployment(cause: str, gone: str) -> None:
    play = steady(delay_s=30.0)
    CAUSES[cause](play)
    play.run(300)
    assert play.task(gone).known is TaskStatus.STOPPED
    assert play.world.deployments_made == 1
    assert play.world.is_steady


# --- StopTask ------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-TASK-14", "ECS-TASK-26", "ECS-TASK-28")
def test_stop_task_drains_in_full_and_is_made_good_meanwhile() -> None:
    play = stop(steady(delay_s=30.0), "t1", "maintenance").run(200)
    assert play.events()[2:] == [
        "    10.0  deregistered 1 targets",
        "    10.0  taskSet A has begun draining connections on 1 tasks.",
        "    10.0  has started 1 tasks: t3.",
        "    30.0  registered 1 targets",
        "    40.0  has reached a steady state.",
    ]
    assert play.when(c.SignalContainer, "t1") == [50.0]
    task = play.task("t1")
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "Task stopped by user: maintenance")


@pytest.mark.fidelity("ECS-TASK-13", source="CR#708", mark="observed")
def test_stop_task_without_drain_signals_at_once_and_deregisters_later() -> None:
    play = stop(steady(stop_task_drains=False), "t1").run(0)
    assert play.when(c.SignalContainer, "t1") == [0.0]
    assert "t1" in play.table()["node-0"]
    play.run(60)
    assert play.when(c.DeregisterTarget, "t1") == [10.0]
    assert play.task("t1").stopped_reason == "Task stopped by user"


def test_stop_task_without_drain_is_killed_after_the_stop_timeout() -> None:
    play = Play(settings(stop_task_drains=False), behaviours={"mcp-server:1": IGNORES_SIGTERM})
    stop(play.run_until_steady().mark(), "t1").run(60)
    assert play.when(c.KillContainer, "t1") == [30.0]


@pytest.mark.parametrize(
    ("at", "known", "signals"),
    [
        pytest.param(14.0, TaskStatus.PROVISIONING, False, id="stop_provisioning"),
        pytest.param(20.0, TaskStatus.PENDING, False, id="stop_pending"),
        pytest.param(30.0, TaskStatus.ACTIVATING, True, id="stop_activating_before_its_container_is_up"),
        pytest.param(31.0, TaskStatus.ACTIVATING, True, id="stop_activating_unregistered"),
        pytest.param(35.0, TaskStatus.ACTIVATING, True, id="stop_activating_registered"),
        pytest.param(50.0, TaskStatus.RUNNING, True, id="stop_running"),
        pytest.param(95.0, TaskStatus.DEACTIVATING, True, id="stop_deactivating"),
    ],
)
def test_stop_task_in_any_status_leaves_nothing(at: float, known: TaskStatus, signals: bool) -> None:
    play = steady(desired=1, delay_s=30.0)
    play.update(force_new_deployment=True).run(at)
    name = "t1" if known is TaskStatus.DEACTIVATING else "t2"
    assert play.task(name).known is known
    stop(play, name).run_until_steady().run(60)
    assert (len(play.when(c.SignalContainer, name)) == 1) is signals
    assert play.task(name).known is TaskStatus.STOPPED
    assert len(play.tasks()) == len(play.world.targets) == 1


def test_container_that_starts_after_it_was_told_to_stop_is_signalled() -> None:
    play = Play(settings(desired=1), behaviours={"mcp-server:1": Behaviour(starts_after_s=25.0)}).run(35)
    assert play.task("t1").known is TaskStatus.ACTIVATING
    stop(play, "t1").run(60)
    started_at = play.started_at[play.task("t1").id]
    [signalled] = play.when(c.SignalContainer, "t1")
    assert 0 <= signalled - started_at <= Timing().scheduler_tick_s
    assert play.when(c.RegisterTarget, "t1") == []
    assert play.task("t1").known is TaskStatus.STOPPED


def test_container_that_fails_to_start_after_it_was_told_to_stop_ends_quietly() -> None:
    play = Play(settings(desired=1), behaviours={"mcp-server:1": Behaviour(starts_after_s=math.inf)}).run(35)
    stop(play, "t1").tell(e.ContainerStartFailed(play.task("t1").id, "CannotPullContainerError")).run(30)
    task = play.task("t1")
    assert (task.known, task.crashed, task.stop_code) == (TaskStatus.STOPPED, False, "UserInitiated")


def test_stop_task_of_a_stopped_or_unknown_task_changes_nothing() -> None:
    play = stop(steady(delay_s=30.0), "t1").run(300)
    before = play.world
    stop(play, "t1").tell(e.TaskStopRequested("nobody")).run(0)
    assert play.world == before
