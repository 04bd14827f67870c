"""Waves: which batch of tasks waits for which, read off their lives, and each task's own prediction in a report."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import judge, reference_steps
from rollproof.verdict.cliff import leaves_with
from rollproof.verdict.reference import Reference, reference_of
from rollproof.verdict.rollout import TaskLife
from rollproof.verdict.waves import WaveKind, completed_range, stable_range, wave_ranges, waves_of
from tests.verdict.stories import SETTINGS, in_two_waves


def reference(low: int = 100, high: int = 200, **more: Any) -> Reference:
    percents = {"service.minimum_healthy_percent": low, "service.maximum_percent": high}
    return reference_of({**SETTINGS, **percents, **{key.replace("__", "."): value for key, value in more.items()}})


def old(task: str, decided: float, stopped: float | None = None) -> TaskLife:
    return TaskLife(task, 0.0, decided_at=decided, stopped_at=stopped)


def new(task: str, started: float, registered: float | None = None) -> TaskLife:
    return TaskLife(task, started, registered_at=registered)


def told(reference: Reference, olds: list[TaskLife], news: list[TaskLife]) -> list[tuple[str, str, int | None]]:
    waves = waves_of(olds, news, reference)
    return [(",".join(life.task_id for life in wave.lives), wave.after, wave.of) for wave in waves]


def test_start_first_is_starts_then_stops() -> None:
    olds, news = [old("a", 82.0), old("b", 82.1)], [new("c", 12.0, 32.0), new("d", 12.0, 32.0)]
    assert told(reference(), olds, news) == [("c,d", "triggered", None), ("a,b", "registered", 0)]


def test_stop_first_waits_for_room_and_then_for_health() -> None:
    olds, news = [old("a", 12.0, 78.0), old("b", 152.0, 218.0)], [new("c", 82.0, 102.0), new("d", 222.0, 242.0)]
    assert told(reference(50, 100), olds, news) == [
        ("a", "triggered", None),
        ("c", "STOPPED", 0),
        ("b", "registered", 1),
        ("d", "STOPPED", 2),
    ]


def test_where_the_cause_is_not_in_the_history_nothing_is_predicted() -> None:
    rules = reference()
    waves = waves_of([old("a", 82.0)], [], rules)
    assert [(wave.kind, wave.after) for wave in waves] == [(WaveKind.STOPS, "")]
    ranges = wave_ranges(waves, rules)
    assert ranges == ({},)
    assert completed_range(waves, ranges, rules) is None
    assert stable_range(waves, ranges, rules, 10.0) is None


@pytest.mark.parametrize(
    ("low", "high", "starts", "stops"),
    [(100, 200, True, False), (50, 100, False, True), (0, 200, True, True), (50, 200, True, True)],
)
def test_what_a_rollout_begins_with_is_the_percents_arithmetic(low: int, high: int, starts: bool, stops: bool) -> None:
    rules = reference(low, high)
    assert (rules.begins_with_starts, rules.begins_with_stops) == (starts, stops)


def test_percents_that_round_to_nothing_leave_no_room() -> None:
    """2 tasks at 60/140: floor 2 (1.2 rounded up), ceiling 2 (2.8 rounded down)."""
    rules = reference(60, 140)
    assert (rules.begins_with_starts, rules.begins_with_stops) == (False, True)


def completes_after(**settings: Any) -> str:
    steps = reference_steps({**SETTINGS, **{key.replace("__", "."): value for key, value in settings.items()}})
    return next(step.after for step in steps if step.name == "completed")


def test_completed_is_measured_from_what_comes_last() -> None:
    both = {"service__minimum_healthy_percent": 0, "service__maximum_percent": 200}
    assert completes_after() == "exited"
    assert completes_after(service__minimum_healthy_percent=50, service__maximum_percent=100) == "registered"
    assert completes_after(**both, target_group__deregistration_delay_s=300.0) == "exited"
    assert completes_after(**both, target_group__deregistration_delay_s=0.0) == "registered"


def test_without_a_load_balancer_nothing_drains() -> None:
    names = [step.name for step in reference_steps({**SETTINGS, "service.has_load_balancer": False})]
    assert "target draining" not in names
    assert names[1:4] == ["tasks started", "task RUNNING", "stop decided"]


def test_a_container_s_own_check_holds_old_tasks_back() -> None:
    slow = {**SETTINGS, "task_definition.health_check.interval_s": 120.0, "task_definition.health_check.timeout_s": 5.0}
    decided = next(step for step in reference_steps(slow) if step.name == "stop decided")
    assert (decided.expected_min_s, decided.expected_max_s) == pytest.approx((109.9, 151.0))


def test_a_task_of_a_later_wave_is_predicted_from_the_wave_before_it() -> None:
    """Stop first: ANNA goes at the trigger, BERT when CARL is healthy."""
    first, second = judge(in_two_waves().records).cliffs
    early, late = first.events[0], second.events[0]
    assert (early.name, late.name) == ("target draining", "target draining")
    assert (early.predicted_min_s, early.predicted_max_s) == pytest.approx((12.0, 33.4))
    assert late.predicted_min_s is not None
    assert late.predicted_max_s is not None
    assert late.measured_s is not None
    assert late.predicted_min_s <= late.measured_s <= late.predicted_max_s
    assert late.predicted_min_s > 100


def test_sessions_leave_with_the_delay_only_where_a_cookie_overrides_the_drain() -> None:
    assert leaves_with({}) == "nodes stop routing"
    assert leaves_with({"behaviour.sticky_overrides_drain": True}) == "target unused"
    no_cookie = {"behaviour.sticky_overrides_drain": True, "target_group.stickiness.enabled": False}
    assert leaves_with(no_cookie) == "nodes stop routing"
