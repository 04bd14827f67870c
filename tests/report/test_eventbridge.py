"""A run's history as EventBridge would have had it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollproof.core import commands as c
from rollproof.core.world import World
from rollproof.history import HistoryFile, HistoryList, Recorder
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.recording import WorldRecorder
from rollproof.report.eventbridge import eventbridge_events
from tests.core.play import Behaviour, Happened, Play, settings
from tests.core.test_service_breaker import NO_IMAGE, ROLLBACK
from tests.core.test_service_scaling import protect

Events = list[dict[str, Any]]


def recorded(recorder: Recorder, *, by_pass: bool = False, **knobs: Any) -> Play:
    """A service that is recorded from its creation on: at every change, or only at the end of each scheduler pass."""
    recorder.record("setting", t=0.0, name="service.name", value="chat")
    world_recorder = WorldRecorder(recorder)

    def note(before: World, happened: Happened, after: World, now: float) -> None:
        if not by_pass or isinstance(happened, c.ScheduleTick):
            world_recorder.changed(after, now)

    return Play(settings(**knobs), checks=[note])


def history() -> HistoryList:
    return HistoryList(StageClock())


def of(events: Events, detail_type: str) -> Events:
    return [x["detail"] for x in events if x["detail-type"] == detail_type]


@pytest.mark.fidelity("ECS-EVENT-31", source="ECS-DG/ecs_cwe_events; O12", mark="doc")
def test_each_change_of_a_tasks_state_is_an_event_with_the_next_version() -> None:
    records = history()
    play = recorded(records, desired=1, delay_s=30.0).run_until_steady()
    play.update(force_new_deployment=True).run(300)
    events = list(eventbridge_events(records.records))
    arn = f"arn:aws:ecs:us-east-1:123456789012:task/mcp-cluster/{play.task('t1').id}"
    told = [x for x in of(events, "ECS Task State Change") if x["taskArn"] == arn]
    assert [(x["version"], x["lastStatus"], x["desiredStatus"]) for x in told] == [
        (1, "PROVISIONING", "RUNNING"), (2, "PENDING", "RUNNING"), (3, "ACTIVATING", "RUNNING"),
        (4, "RUNNING", "RUNNING"), (5, "DEACTIVATING", "STOPPED"), (6, "STOPPING", "STOPPED"),
        (7, "DEPROVISIONING", "STOPPED"), (8, "STOPPED", "STOPPED"),
    ]  # fmt: skip
    last = told[-1]
    assert (last["group"], last["stopCode"], last["launchType"]) == (
        "service:chat",
        "ServiceSchedulerInitiated",
        "FARGATE",
    )
    assert last["startedBy"].startswith("ecs-svc/")
    assert last["taskDefinitionArn"].endswith(":task-definition/mcp-server:1")
    assert last["containers"] == [{"taskArn": arn, "lastStatus": "STOPPED", "exitCode": 143}]


@pytest.mark.fidelity("ECS-EVENT-32", source="ECS-DG/ecs_cwe_events", mark="doc")
def test_deployments_are_told_with_their_reasons() -> None:
    records = history()
    play = recorded(records, circuit_breaker=ROLLBACK).run_until_steady()
    play.deploy(2, NO_IMAGE).run(300)
    events = list(eventbridge_events(records.records))
    first, second = play.world.primary.id, of(events, "ECS Deployment State Change")[2]["deploymentId"]
    told = [(x["eventType"], x["eventName"], x["deploymentId"]) for x in of(events, "ECS Deployment State Change")]
    assert told == [
        ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS", first),
        ("INFO", "SERVICE_DEPLOYMENT_COMPLETED", first),
        ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS", second),
        ("ERROR", "SERVICE_DEPLOYMENT_FAILED", second),
        ("INFO", "SERVICE_DEPLOYMENT_IN_PROGRESS", first),
        ("INFO", "SERVICE_DEPLOYMENT_COMPLETED", first),
    ]
    reasons = [x["reason"] for x in of(events, "ECS Deployment State Change")]
    assert reasons[2] == f"ECS deployment {second} in progress."
    assert reasons[4] == f"ECS deployment circuit breaker: rolling back to deploymentId {first}."
    assert {tuple(x["resources"]) for x in events if "Deployment" in x["detail-type"]} == {
        ("arn:aws:ecs:us-east-1:123456789012:service/mcp-cluster/chat",)
    }


def test_failure_is_told_where_the_rollback_came_in_the_same_pass() -> None:
    records = history()
    play = recorded(records, by_pass=True, circuit_breaker=ROLLBACK).run_until_steady()
    play.deploy(2, NO_IMAGE).run(300)
    told = of(list(eventbridge_events(records.records)), "ECS Deployment State Change")
    [failed] = [x for x in told if x["eventType"] == "ERROR"]
    assert failed["deploymentId"] != play.world.primary.id
    assert "circuit breaker" in failed["reason"]


@pytest.mark.fidelity("ECS-EVENT-33", source="ECS-DG/ecs_cwe_events; ECS-DG-now/ecs_service_events", mark="doc")
def test_service_actions_are_those_that_a_rehearsal_has() -> None:
    records = history()
    play = recorded(records, desired=4, delay_s=30.0).run_until_steady()
    play.behaviours["mcp-server:2"] = Behaviour(starts_after_s=None)
    protect(play, "t1", "t3").update(desired_count=2).run(100)
    protect(play, "t1", "t3", enabled=False).run(200).deploy(2).run(100)
    told = [
        (x["eventType"], x["eventName"]) for x in of(list(eventbridge_events(records.records)), "ECS Service Action")
    ]
    steady = ("INFO", "SERVICE_STEADY_STATE")
    assert told == [
        steady, steady, ("INFO", "SERVICE_REBALANCING_STARTED"), steady, ("INFO", "SERVICE_REBALANCING_COMPLETED"),
        ("WARN", "SERVICE_TASK_START_IMPAIRED"),
    ]  # fmt: skip


def test_events_of_a_file_are_the_same_whenever_they_are_made(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "history.jsonl", StageClock())
    recorded(file, desired=1).run_until_steady()
    file.close()
    records = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    once, again = list(eventbridge_events(records)), list(eventbridge_events(records))
    assert once == again
    assert len({x["id"] for x in once}) == len(once) > 5
    for event in once:
        assert (event["version"], event["source"], event["account"]) == ("0", "aws.ecs", "123456789012")
        assert event["time"].endswith("Z")
