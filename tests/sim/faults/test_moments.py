"""When a fault is to happen: what can be said, and what of a history it means."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.sim.faults.moments import Moment, Subject, Watch, begins_at, parse_moment, parse_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120 s", Moment(Subject.TIME, offset_s=120.0)),
        ("2 min", Moment(Subject.TIME, offset_s=120.0)),
        ("90", Moment(Subject.TIME, offset_s=90.0)),
        ("warmed-up", Moment(Subject.MARK, "warmed-up")),
        ("steady + 10 s", Moment(Subject.MARK, "steady", 10.0)),
        ("deployment started", Moment(Subject.DEPLOYMENT, "started")),
        ("task running+5s", Moment(Subject.TASK, "RUNNING", 5.0)),
        ("task SIGTERM", Moment(Subject.TASK, "SIGTERM")),
        ("target  draining + 1.5 min", Moment(Subject.TARGET, "draining", 90.0)),
        ("target unused - 10 s", Moment(Subject.TARGET, "unused", -10.0)),
        ("node draining", Moment(Subject.NODE, "draining")),
    ],
)
def test_what_can_be_said_is_said_again_the_same(text: str, expected: Moment) -> None:
    assert parse_moment(text) == expected
    assert parse_moment(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lunch", "a state of one of: deployment, task, target, node"),
        ("target", "initial, healthy, unhealthy, draining, unused"),
        ("target dancing", "initial, healthy, unhealthy, draining, unused"),
        ("steady - 3 s", "count from an earlier moment"),
        ("target draining - 3 s", "only `target unused - 10 s`"),
        ("target draining + soon", "initial, healthy"),
        ("", "names no moment"),
        ("time 3", "a state of one of"),
        ("-3 s", "a state of one of"),
    ],
)
def test_what_cannot_be_said_says_what_can(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_moment(text)
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_a_duration_needs_a_number() -> None:
    assert parse_seconds("1.5 min") == 90.0
    with pytest.raises(UsageError, match="no duration"):
        parse_seconds("a while")


TARGET = {"kind": "target", "target_id": "10.0.0.4:8000"}
STORY: list[dict[str, Any]] = [
    {"kind": "deployment", "t": 0.0, "id": "A", "status": "PRIMARY", "rollout_state": "IN_PROGRESS"},
    {"kind": "task", "t": 1.0, "task_id": "t1", "known": "RUNNING"},
    TARGET | {"t": 2.0, "task_id": "t1", "state": "healthy"},
    {"kind": "deployment", "t": 3.0, "id": "A", "status": "PRIMARY", "rollout_state": "COMPLETED"},
    {"kind": "service_event", "t": 3.1, "message": "(service s) has reached a steady state."},
    {"kind": "call", "t": 4.0, "session": "s1"},
    {"kind": "deployment", "t": 5.0, "id": "B", "status": "PRIMARY", "rollout_state": "IN_PROGRESS"},
    TARGET | {"t": 6.0, "task_id": "t1", "state": "draining", "draining_until": 36.0},
    TARGET | {"t": 6.5, "task_id": "t1", "state": "draining", "draining_until": 36.0},
    {"kind": "node", "t": 7.0, "node": "node-1", "target_id": "10.0.0.4:8000", "state": "draining"},
    {"kind": "task", "t": 40.0, "task_id": "t1", "known": "DEACTIVATING", "signal": "SIGTERM"},
    TARGET | {"t": 36.0, "state": "unused"},
]


def found(text: str, speed: float = 1.0) -> list[tuple[float, str]]:
    """(when, the task it is about) of each time that the moment comes."""
    watch, moment, times = Watch(), parse_moment(text), []
    for record in STORY:
        for entered in watch.see(record):
            if (at := begins_at(moment, entered, speed)) is not None:
                times.append((at, entered.task_id))
    return times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deployment started", [(0.0, ""), (5.0, "")]),
        ("deployment completed + 2 s", [(5.0, "")]),
        ("deployment failed", []),
        ("task RUNNING", [(1.0, "t1")]),
        ("target draining + 3 s", [(9.0, "t1")]),
        ("target unused", [(36.0, "t1")]),
        ("target unused - 10 s", [(26.0, "t1")]),
        ("target unused - 1 min", [(6.0, "t1")]),
        ("node draining", [(7.0, "t1")]),
        ("task SIGTERM", [(40.0, "t1")]),
        ("steady + 1 s", [(4.1, "")]),
    ],
)
def test_a_moment_comes_when_something_enters_the_state_and_not_while_it_is_in_it(
    text: str, expected: list[tuple[float, str]]
) -> None:
    assert found(text) == [(pytest.approx(at), task) for at, task in expected]


def test_seconds_are_aws_seconds_whatever_the_speed() -> None:
    assert found("target draining + 30 s", speed=10.0) == [(9.0, "t1")]
