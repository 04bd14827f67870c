"""A platform's profile over a whole rehearsal: what it changes, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.settings import Routing
from rollproof.orchestrator.stage_files import PLAN
from rollproof.platforms import check_platform, probe_on_platform
from rollproof.probe import Era, ProbeOptions
from rollproof.rehearsal import Disruption, Rehearsal, on_platform, stage_plan
from rollproof.subject import find_subject

SAMPLE = find_subject()
REHEARSAL = Rehearsal(SAMPLE, SAMPLE.settings, probe=ProbeOptions("http://localhost/mcp", sessions=20, slow_every=5))


def test_a_rehearsal_moves_to_another_platform_as_a_whole() -> None:
    moved = on_platform(REHEARSAL, "lambda")
    assert (moved.platform, moved.probe.sessions, moved.timing.drain_propagation_s) == ("lambda", 4, 0.0)
    assert moved.settings.platform.routing is Routing.EXCLUSIVE
    assert moved.template == REHEARSAL.template
    assert REHEARSAL.settings.platform.routing is Routing.COOKIES


def test_the_plan_of_its_stage_survives_the_file_that_a_killed_orchestrator_leaves() -> None:
    plan = stage_plan(on_platform(REHEARSAL, "agentcore"), Path("state"), Path("run"))
    assert PLAN.validate_json(PLAN.dump_json(plan)) == plan
    assert plan.settings.platform.routing is Routing.BY_SESSION_HEADER


@pytest.mark.parametrize("name", ["app-runner", "lambda", "agentcore"])
@pytest.mark.parametrize("disruption", [d for d in Disruption if d is not Disruption.ROLLING])
def test_what_only_ecs_does_is_not_played_elsewhere(name: str, disruption: Disruption) -> None:
    with pytest.raises(NotModelled, match=f"{disruption} is not played on platform {name}"):
        on_platform(replace(REHEARSAL, disruption=disruption), name)


def test_without_stickiness_fargate_has_all_disruptions() -> None:
    moved = on_platform(replace(REHEARSAL, disruption=Disruption.CRASH), "fargate-no-sticky")
    assert not moved.settings.target_group.stickiness.enabled


@pytest.mark.parametrize(
    ("name", "changes", "says", "hint"),
    [
        ("lambda", {"sessions": 6}, "6 sessions need 8 instances", "--set desired_count=8, or fewer --sessions"),
        ("lambda", {"sessions": 4, "open_streams": True}, "need 9 instances", "or --no-streams"),
        ("agentcore", {"sessions": 6}, "6 sessions need 7 instances", "--set desired_count=7"),
    ],
)
def test_more_sessions_than_there_are_instances_for(name: str, changes: dict[str, int], says: str, hint: str) -> None:
    moved = on_platform(REHEARSAL, name)
    probe = replace(moved.probe, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=says) as caught:
        check_platform(name, moved.settings, probe)
    assert hint in caught.value.hint


def test_clients_without_session_ids_cannot_be_led_by_them() -> None:
    moved = on_platform(REHEARSAL, "agentcore")
    with pytest.raises(NotModelled, match="send no Mcp-Session-Id"):
        check_platform("agentcore", moved.settings, replace(moved.probe, era=Era.MODERN))


def test_few_sessions_stay_as_few_as_they_are() -> None:
    probe = ProbeOptions("http://localhost/mcp", sessions=2, open_streams=True)
    assert probe_on_platform(probe, "agentcore") == probe
    assert probe_on_platform(probe, "lambda") == replace(probe, open_streams=False)
