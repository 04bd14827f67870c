"""Fargate Spot: a task's capacity is taken back with two minutes' warning."""

from __future__ import annotations

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.task import StopCode
from tests.core.play import Behaviour, Play
from tests.core.test_service_rolling import IGNORES_SIGTERM, steady


def interrupt(play: Play, name: str = "t1") -> Play:
    return play.tell(e.SpotInterrupted(play.task(name).id)).run(0)


@pytest.mark.fidelity("ECS-TASK-15", source="WN-2023-02-13; CR#2673", mark="doc")
def test_a_short_delay_ends_before_the_stop_signal() -> None:
    play = interrupt(steady(delay_s=60.0)).run(200)
    assert play.when(c.DeregisterTarget, "t1") == [10.0]
    assert play.when(c.SignalContainer, "t1") == [80.0]
    assert play.when(c.StartContainer, "t3") == [27.5]  # made good at the next pass, as any task that is lost
    assert play.events()[2:4] == [
        "    10.0  deregistered 1 targets",
        "    10.0  taskSet A has begun draining connections on 1 tasks.",
    ]


@pytest.mark.fidelity("ECS-TASK-26", source="API-ECS Task", mark="doc")
@pytest.mark.fidelity("ECS-TASK-28", source="ECS-DG/stopped-task-error-codes", mark="doc")
def test_the_task_says_that_it_was_interrupted() -> None:
    task = interrupt(steady()).task("t1")
    assert (task.stop_code, task.stopped_reason) == (StopCode.SPOT_INTERRUPTION, "Your Spot Task was interrupted.")


@pytest.mark.fidelity("ECS-TASK-15", source="WN-2023-02-13; CR#2673", mark="doc")
def test_a_long_delay_is_cut_short_by_the_end_of_the_warning() -> None:
    play = steady(delay_s=300.0)
    play.exceptions[play.task("t1").id] = IGNORES_SIGTERM
    interrupt(play).run(200)
    assert play.when(c.SignalContainer, "t1") == [90.0]  # a stop timeout of 30 s before the end
    assert play.when(c.KillContainer, "t1") == [120.0]
    assert play.states()["t1"] == "draining"


@pytest.mark.parametrize(("stop_timeout_s", "signal_at", "kill_at"), [(120.0, 10.0, 120.0), (2.0, 120.0, 120.0)])
def test_the_stop_timeout_fits_into_the_warning(stop_timeout_s: float, signal_at: float, kill_at: float) -> None:
    play = steady(stop_timeout_s=stop_timeout_s)
    play.exceptions[play.task("t1").id] = IGNORES_SIGTERM
    interrupt(play).run(200)
    [signalled], [killed] = play.when(c.SignalContainer, "t1"), play.when(c.KillContainer, "t1")
    assert killed == pytest.approx(max(kill_at, signalled))
    assert signalled == signal_at


@pytest.mark.fidelity("ECS-TASK-15", source="WN-2023-02-13; CR#2673", mark="doc")
def test_without_draining_the_signal_comes_at_once_and_requests_go_on_coming() -> None:
    play = interrupt(steady(spot_drains=False)).run(5)
    assert play.when(c.SignalContainer, "t1") == [0.0]
    assert "t1" in play.table()["node-0"]
    play.run(60)
    assert play.when(c.DeregisterTarget, "t1") == [10.0]


def test_interrupted_twice_or_when_already_leaving_changes_nothing() -> None:
    play = steady()
    play.tell(e.TaskStopRequested(play.task("t1").id)).run(0)
    assert interrupt(play).task("t1").stop_code is StopCode.USER_INITIATED
    play.tell(e.SpotInterrupted("nobody")).run(0)


def test_the_rest_of_the_service_is_untouched() -> None:
    play = interrupt(steady(delay_s=60.0)).run_until_steady().run(100)
    assert play.tasks() == ["t2", "t3"]
    assert len(play.world.deployments) == 1
    assert play.behaviour_of(play.task("t2").id) == Behaviour()
