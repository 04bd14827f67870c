"""rollproof predict: the page, the same facts as JSON, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Rollproof


def predicted(rollproof: Rollproof, *arguments: str) -> dict[str, Any]:
    done = rollproof("predict", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_the_page_is_plain_text_in_a_pipe(rollproof: Rollproof) -> None:
    done = rollproof("predict", "--strategy", "memory")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "Wave 1: 2 new tasks start, from the trigger on" in done.stdout
    assert "Wave 2: 2 old tasks stopped, after registered of wave 1" in done.stdout
    assert "They are lost with that move" in done.stdout
    for step in ("nodes stop routing", "target unused", "SIGTERM", "SIGKILL", "services-stable returns"):
        assert step in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_json_has_the_same_facts(rollproof: Rollproof) -> None:
    facts = predicted(rollproof, "--strategy", "memory", "--set", "deregistration_delay_s=30")
    assert facts["sessions"] == "lost"
    assert facts["sessions_move_with"] == "nodes stop routing"
    assert facts["sessions_move_s"] == pytest.approx([85.0, 146.4])
    assert [wave["kind"] for wave in facts["waves"]] == ["starts", "stops"]
    assert facts["completed"]["simulated_s"] == [152.0]
    assert facts["services_stable"]["simulated_s"] == [165.0]


@pytest.mark.parametrize(
    ("strategy", "sessions"),
    [("", "survived"), ("memory", "lost"), ("idempotent", "degraded"), ("resilient", "survived")],
)
def test_what_becomes_of_sessions_is_the_strategy_s(rollproof: Rollproof, strategy: str, sessions: str) -> None:
    assert predicted(rollproof, *(["--strategy", strategy] if strategy else []))["sessions"] == sessions


def test_nothing_is_known_of_somebody_s_own_server(rollproof: Rollproof) -> None:
    assert predicted(rollproof, "--command", "node server.js")["sessions"] == "unknown"


def test_the_other_reading_moves_sessions_at_the_end_of_the_delay(rollproof: Rollproof) -> None:
    facts = predicted(rollproof, "--set", "sticky_overrides_drain=true")
    assert facts["sessions_move_s"] == facts["streams_cut_s"] == pytest.approx([376.6, 430.1])


def test_a_waiter_that_gives_up_has_no_poll(rollproof: Rollproof) -> None:
    facts = predicted(rollproof, "--set", "deregistration_delay_s=900")
    assert facts["services_stable"]["earliest_s"] is None
    assert any("gives up" in trap for trap in facts["traps"])
    assert "gives up" in rollproof("predict", "--set", "deregistration_delay_s=900").stdout


def test_a_stuck_deployment_is_an_answer(rollproof: Rollproof) -> None:
    done = rollproof("predict", "--set", "desired_count=1", "--set", "maximum_percent=150")
    assert done.returncode == 0
    assert "Stuck: with 1 task at least 1 must stay healthy" in done.stdout
    assert "Wave" not in done.stdout


def test_many_waves_are_shortened_unless_asked_for(rollproof: Rollproof) -> None:
    numbers = ("desired_count=6", "minimum_healthy_percent=83", "maximum_percent=100", "deregistration_delay_s=30")
    knobs = [f"--set={each}" for each in numbers]
    short, whole = rollproof("predict", *knobs).stdout, rollproof("predict", *knobs, "--verbose").stdout
    assert "more waves like these" in short
    assert "Wave 4:" not in short
    assert "Wave 4:" in whole
    assert "observed: O8: stop first" in whole
    assert "O8" not in short


@pytest.mark.parametrize("platform", ["app-runner", "lambda", "agentcore"])
def test_platforms_whose_rollouts_nobody_documents_are_refused(rollproof: Rollproof, platform: str) -> None:
    done = rollproof("predict", "--platform", platform)
    assert done.returncode == 2
    assert f"platform {platform} are not documented" in done.stderr
    assert "hint: --platform fargate" in done.stderr


def test_a_platform_without_stickiness_is_predicted(rollproof: Rollproof) -> None:
    done = rollproof("predict", "--platform", "fargate-no-sticky")
    assert done.returncode == 0
    assert "Without stickiness" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--set", "deregistraton_delay_s=30"], "unknown knob", "deregistration_delay_s"),
        (["--set", "deregistration_delay_s=soon"], "deregistration_delay_s", "hint:"),
        (["--set", "deregistration_delay_s=4000"], "0..3600", "rollproof knobs"),
        (["--set", "minimum_healthy_percent=100", "--set", "maximum_percent=100"], "block deployments", "hint:"),
        (["--template", "absent.yaml"], "absent.yaml", "error:"),
        (["--strategy", "hope"], "unknown strategy", "stateless"),
        (["--platform", "azure"], "unknown platform 'azure'", "agentcore"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], says: str, hint: str, rollproof: Rollproof) -> None:
    done = rollproof("predict", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
