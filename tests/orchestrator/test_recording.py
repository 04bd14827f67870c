"""Changes of the world as records: each once, in the documented shape."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.decide import decide, next_wakeup
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.world import World, apply, create_world
from rollproof.history import HistoryList, Record
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.recording import WorldRecorder

REQUIRED = {
    "service_event": {"message"},
    "deployment": {
        "id", "status", "rollout_state", "desired", "running", "pending", "failed_tasks", "task_definition", "reason",
    },
    "task": {"task_id", "known", "desired", "deployment"},
    "target": {"target_id", "task_id", "state"},
    "node": {"node", "target_id", "state"},
}  # fmt: skip
"""The fields of rollproof/history.py that such a record must have."""


class Service:
    """A service whose containers do what is ordered, in virtual time, recorded at each step."""

    def __init__(self) -> None:
        self.history = HistoryList(StageClock())
        self.recorder = WorldRecorder(self.history)
        self.world: World = create_world(Settings(), Timing(), 1, 0.0)
        self.now = 0.0
        self.ports = iter(range(8000, 9000))

    def run_until(self, until: float) -> Service:
        self.step()
        while (due := next_wakeup(self.world, self.now)) <= until:
            self.now = max(due, self.now + 0.001)
            self.step()
        self.now = until
        return self

    def step(self) -> None:
        while commands := decide(self.world, self.now):
            for command in commands:
                self.world = apply(self.world, command, self.now)
                for event in self.answer(command):
                    self.world = apply(self.world, event, self.now)
        self.recorder.changed(self.world, self.now)

    def answer(self, command: c.Command) -> Iterator[e.Event]:
        match command:
            case c.StartContainer(task_id=task_id):
                yield e.ContainerStarted(task_id, f"127.0.0.1:{next(self.ports)}")
            case c.SignalContainer(task_id=task_id):
                yield e.ContainerExited(task_id, 143)
            case c.CheckHealth(node=node, target_id=target_id):
                yield e.HealthCheckAnswered(node, target_id, 200)

    def records(self, kind: str, since: int = 0) -> list[Record]:
        return [x for x in self.history.records[since:] if x["kind"] == kind]


@pytest.fixture
def replaced() -> Service:
    """A service that has replaced all its tasks once."""
    service = Service().run_until(200.0)
    assert service.world.is_steady
    service.world = apply(service.world, e.ServiceUpdateRequested(force_new_deployment=True), service.now)
    service.run_until(1000.0)
    assert service.world.is_steady
    return service


def test_every_record_has_the_documented_fields(replaced: Service) -> None:
    kinds = {record["kind"] for record in replaced.history.records}
    assert kinds == set(REQUIRED)
    for record in replaced.history.records:
        assert REQUIRED[record["kind"]] <= record.keys(), record
        assert record["t"] <= replaced.now


def test_nothing_is_recorded_twice(replaced: Service) -> None:
    last: dict[tuple[str, str], Record] = {}
    for record in replaced.history.records:
        if record["kind"] in ("task", "deployment"):
            key = record["kind"], str(record.get("task_id") or record.get("id"))
            facts = {k: v for k, v in record.items() if k not in ("t", "at")}
            assert facts != last.get(key), record
            last[key] = facts


def test_events_of_one_moment_are_all_recorded(replaced: Service) -> None:
    """Two events of one pass of the scheduler stand a millisecond apart, as ECS has them."""
    told = [x["message"] for x in replaced.records("service_event")]
    assert told == [x.message for x in replaced.world.service_events]


def test_a_target_names_what_it_was_and_how_long_it_drains(replaced: Service) -> None:
    draining = [x for x in replaced.records("target") if x["state"] == "draining"]
    assert len(draining) == 2
    for record in draining:
        assert record["previous"] == "healthy"
        assert record["draining_until"] == pytest.approx(record["t"] + 300.0, abs=2.0)
    unused = [x for x in replaced.records("target") if x["state"] == "unused"]
    assert [(x["previous"], x["reason"]) for x in unused] == [("draining", "Target.NotRegistered")] * 2


def test_both_nodes_learn_of_each_change(replaced: Service) -> None:
    learned = [(x["target_id"], x["node"]) for x in replaced.records("node") if x["state"] == "draining"]
    assert len(learned) == len(set(learned)) == 4


def test_a_deployment_that_is_gone_ends_as_inactive(replaced: Service) -> None:
    (first,) = {x["id"] for x in replaced.records("deployment")} - {replaced.world.primary.id}
    last = [x for x in replaced.records("deployment") if x["id"] == first][-1]
    assert (last["status"], last["running"], last["pending"]) == ("INACTIVE", 0, 0)


def test_an_adopted_world_is_not_told_again(replaced: Service) -> None:
    history = HistoryList(StageClock())
    recorder = WorldRecorder(history)
    recorder.adopt(replaced.world, replaced.now)
    recorder.changed(replaced.world, replaced.now)
    assert history.records == []
