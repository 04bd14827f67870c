"""What a prediction says in words: sentences for each kind of session, and the traps of a combination of knobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollproof.core.settings import LoadBalancerSettings, Stickiness
from rollproof.core.timing import Timing
from rollproof.prediction.predict import predict_rollout
from rollproof.prediction.words import Fate, between, sentences, traps
from tests.core.play import settings


def told(fate: Fate = Fate.LOST, *, sticky: bool = True, **knobs: Any) -> str:
    rollout = settings(stickiness=Stickiness(enabled=sticky), **knobs)
    return "\n".join(sentences(predict_rollout(rollout, Timing()), fate))


def warned(idle_timeout_s: float = 60.0, grace: str = "", **knobs: Any) -> str:
    rollout = replace(settings(**knobs), load_balancer=LoadBalancerSettings(idle_timeout_s=idle_timeout_s))
    if grace:
        environment = {"SHUTDOWN_GRACE_SECONDS": grace}
        rollout = replace(rollout, task_definition=replace(rollout.task_definition, environment=environment))
    return "\n".join(traps(predict_rollout(rollout, Timing())))


def test_sticky_sessions_move_when_the_nodes_obey_and_die_with_it() -> None:
    said = told()
    assert "Every session of the old tasks moves between 85.0 and 146.4 s after the deployment begins" in said
    assert "They are lost with that move" in said
    assert "until the delay of 300 s is over, between 376.6 and 430.1 s" in said
    assert "only postpones that, SIGTERM and the end of the deployment; not the moves." in said
    assert "SIGTERM comes between 376.6 and 440.1 s" in said


def test_with_sticky_overrides_drain_the_delay_moves_the_sessions() -> None:
    said = told(sticky_overrides_drain=True)
    assert "moves between 376.6 and 430.1 s after the deployment begins, when the delay is over" in said
    assert "only postpones that, SIGTERM, and the moves." in said


@pytest.mark.parametrize(
    ("fate", "says"),
    [
        (Fate.SURVIVED, "They survive it"),
        (Fate.DEGRADED, "begin anew and repeat"),
        (Fate.UNKNOWN, "one that any task can serve goes on"),
    ],
)
def test_what_becomes_of_a_session_is_its_strategy_s(fate: Fate, says: str) -> None:
    assert says in told(fate)


def test_without_stickiness_nothing_binds_a_session_in_the_first_place() -> None:
    said = told(sticky=False)
    assert "Without stickiness a client's requests go to any task, before the deployment too" in said
    assert "lost with that move" not in said


def test_without_a_load_balancer_a_session_ends_with_its_task() -> None:
    assert "There is no load balancer" in told(has_load_balancer=False)


def test_several_waves_can_move_a_session_again() -> None:
    assert "The old tasks go in 3 waves." in told(desired=5, minimum=50, maximum=100)
    assert "waves" not in told()


def test_a_stuck_deployment_says_why_and_what_to_change() -> None:
    said = told(desired=3, minimum=75, maximum=125)
    assert "Stuck: with 3 tasks at least 3 must stay healthy (75 %, rounded up) and at most 3 may run" in said
    assert "minimum_healthy_percent" in said


def test_no_tasks_nothing_to_move() -> None:
    assert "No task runs" in told(desired=0)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"stop_timeout_s": 30.0, "grace": "45"}, "stop_timeout_s 30 is no longer than the server's own grace of 45 s"),
        ({"idle_timeout_s": 10.0}, "idle_timeout_s 10 is no longer than the 15 s"),
        ({"delay_s": 5.0}, "may be over before every node has learned of the draining (up to 17 s)"),
        ({"delay_s": 300.0}, "300 s of at least 377 s of deployment are deregistration delay"),
        ({"delay_s": 450.0}, "may give up"),
        ({"delay_s": 900.0}, "services-stable` gives up"),
        ({"minimum": 0, "maximum": 100, "delay_s": 30.0}, "no target takes new requests"),
        ({"minimum": 0, "maximum": 200, "delay_s": 30.0}, "The floor is 0: the old tasks may be left 19.0..50.4 s"),
    ],
)
def test_a_trap_is_told(knobs: dict[str, Any], says: str) -> None:
    assert says in warned(**knobs)


def test_sound_knobs_have_no_trap() -> None:
    assert warned(delay_s=30.0, stop_timeout_s=60.0, grace="45") == ""


def test_a_grace_that_is_no_number_is_not_compared() -> None:
    assert warned(delay_s=30.0, grace="soon") == ""


def test_a_span_of_one_moment_is_a_moment() -> None:
    assert between((12.0, 12.0)) == "at 12.0 s"
