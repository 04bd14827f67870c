"""A run beside the reference timeline: the order of everything, and when it came."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from rollproof.history import Record
from tests.e2e.place import Done

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
Rehearsed = Callable[[str], Done]

EVENTS = {
    "has started": 2,
    "registered": 2,
    "has stopped": 2,
    "deregistered": 2,
    "has begun draining connections on": 2,
    "deployment completed": 1,
    "has reached a steady state": 1,
}
"""In this order, with how many tasks or targets they speak of. On a busy machine two tasks may become healthy a tick
apart: then an event is said twice, of one each."""
NEW_TASK = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]
AFTER_A_SLOW_START = {"target healthy", "stop decided"}
OLD_TASK = ["RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


@pytest.fixture
def done(rehearsed: Rehearsed) -> Done:
    return rehearsed("sample")


@pytest.fixture
def old(done: Done) -> list[str]:
    replaced: list[str] = done.summary["replaced_tasks"]
    return replaced


def since_trigger(done: Done, kind: str, **wanted: object) -> list[Record]:
    (trigger,) = done.records("mark", name="deployment-triggered")
    return [x for x in done.records(kind, **wanted) if x["t"] >= trigger["t"]]


def distinct(values: Sequence[str]) -> list[str]:
    """Without immediate repetitions."""
    return [value for i, value in enumerate(values) if i == 0 or values[i - 1] != value]


def test_service_events_come_in_ecs_order(done: Done) -> None:
    said: dict[str, int] = {}
    for record in since_trigger(done, "service_event"):
        (kind,) = [x for x in EVENTS if re.search(rf"\b(?<!de){x}", record["message"])]
        number = re.search(rf"{kind} (\d+) ", record["message"])
        said[kind] = said.get(kind, 0) + (int(number[1]) if number else 1)
    assert list(said.items()) == list(EVENTS.items())


def test_steady_state_is_said_a_millisecond_after_the_completion(done: Done) -> None:
    completed, steady = since_trigger(done, "service_event")[-2:]
    assert steady["t"] - completed["t"] == pytest.approx(0.001, abs=0.0005)


def test_new_tasks_go_through_every_state(done: Done, old: list[str]) -> None:
    new = {x["task_id"] for x in done.records("task")} - set(old)
    assert len(new) == 2
    for task_id in new:
        assert distinct([x["known"] for x in done.records("task", task_id=task_id)]) == NEW_TASK


def test_old_tasks_go_through_every_state(done: Done, old: list[str]) -> None:
    for task_id in old:
        assert distinct([x["known"] for x in since_trigger(done, "task", task_id=task_id)]) == OLD_TASK[1:]


def test_targets_go_through_every_state(done: Done, old: list[str]) -> None:
    targets = [x for x in done.records("target") if "cut" not in x]
    for task_id in {x["task_id"] for x in targets}:
        states = distinct([x["state"] for x in targets if x["task_id"] == task_id])
        states = [x for x in states if x != "unhealthy"]  # a server that is slow to come up
        end = ["draining", "unused"] if task_id in old else []
        assert distinct(states) == ["initial", "healthy", *end]


def test_a_target_is_healthy_before_its_task_is_needed(done: Done, old: list[str]) -> None:
    """No old task is told to stop before every new one is RUNNING and healthy."""
    (stop, *_) = since_trigger(done, "task", known="DEACTIVATING")
    new = [x for x in done.records("task", known="RUNNING") if x["task_id"] not in old]
    healthy = [x for x in done.records("target", state="healthy") if x["task_id"] not in old]
    assert max(x["t"] for x in [*new, *healthy]) <= stop["t"]
    assert len({x["task_id"] for x in new}) == len({x["task_id"] for x in healthy}) == 2


def test_sigterm_comes_after_the_whole_delay_and_never_before(done: Done, old: list[str]) -> None:
    (delay,) = done.records("setting", name="target_group.deregistration_delay_s")
    for task_id in old:
        draining = done.records("target", task_id=task_id, state="draining")[0]
        unused = done.records("target", task_id=task_id, state="unused")[0]
        (sigterm,) = done.records("task", task_id=task_id, signal="SIGTERM")
        assert unused["t"] - draining["t"] >= delay["value"] - 0.1
        assert unused["t"] <= sigterm["t"]


def test_a_server_that_ends_in_time_is_not_killed(done: Done, old: list[str]) -> None:
    assert done.records("task", signal="SIGKILL") == []
    assert {x["exit_code"] for x in done.records("task", known="STOPPED")} <= {0, 143}


def test_every_step_stands_beside_its_expectation(done: Done) -> None:
    timeline = {step["name"]: step for step in done.summary["timeline"]}
    assert timeline.pop("SIGKILL")["status"] == "not needed"
    is_slow = timeline["target healthy"]["status"] == "late"  # a busy machine: the server's own start, never scaled
    steps = {name: step["status"] for name, step in timeline.items() if not (is_slow and name in AFTER_A_SLOW_START)}
    assert steps == dict.fromkeys(steps, "ok")
    for step in [x for x in timeline.values() if x["after"]]:
        assert step["measured_s"], step
        assert step["source"], step


def test_safety_held(done: Done) -> None:
    checks = {x["id"]: x["outcome"] for x in done.summary["checks"]}
    assert checks["sigterm-after-drain"] == "pass"
    assert checks["no-request-after-drain"] == "pass"
