"""Bad input on the command line: exit code 2, one clear message with a hint, nothing started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Rollproof

TEMPLATE = "Resources:\n  Service:\n    Type: AWS::ECS::Service\n    Properties:\n      DesiredCount: !Ref Nobody\n"


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["rehearse", "--set", "deregistraton_delay_s=30"], "unknown knob", "deregistration_delay_s"),
        (["rehearse", "--set", "desired_count"], "is not NAME=VALUE", "--set NAME=VALUE"),
        (["rehearse", "--set", "desired_count=many"], "desired_count", "hint:"),
        (["rehearse", "--set", "deregistration_delay_s=4000"], "0..3600", "deregistration_delay_s"),
        (["rehearse", "--app", "a:b", "--command", "c"], "exclude each other", "one of them"),
        (["rehearse", "--app", "no-colon"], "is not module:factory", "--app my_server"),
        (["rehearse", "--strategy", "hope"], "unknown strategy", "stateless"),
        (["rehearse", "--strategy", "memory", "--command", "c"], "sample server", "--env"),
        (["rehearse", "--platform", "azure"], "unknown platform 'azure'", "agentcore"),
        (["up", "--platform", "azure"], "unknown platform 'azure'", "agentcore"),
        (["rehearse", "--platform", "lambda", "--balancer", "nginx"], "nginx does not play", "--balancer embedded"),
        (["up", "--platform", "agentcore", "--balancer", "nginx"], "nginx does not play", "--balancer embedded"),
        (
            ["rehearse", "--platform", "app-runner", "--stage", "docker"],
            "the docker stage does not play",
            "--stage local",
        ),
        (["rehearse", "--platform", "lambda", "--sessions", "9"], "need 11 instances", "--set desired_count=11"),
        (["rehearse", "--platform", "lambda", "--disruption", "crash"], "crash is not played", "--disruption rolling"),
        (["rehearse", "--platform", "agentcore", "--era", "modern"], "send no Mcp-Session-Id", "--era legacy"),
        (["rehearse", "--speed", "0"], "--speed 0 is out of range", "above 0"),
        (["rehearse", "--template", "absent.yaml"], "absent.yaml", "error:"),
        (["rehearse", "--template", "bad.yaml"], "bad.yaml:5", "Nobody"),
        (["rehearse", "--config", "absent.toml"], "absent.toml", "error:"),
        (["rehearse", "--sessions", "0"], "sessions is 0", "least is 1"),
        (["report", "nowhere"], "no history.jsonl", "runs"),
        (["report"], "no run in runs", "rollproof rehearse"),
        (["status"], "no orchestrator answers", "rollproof up"),
        (["deploy", "--force-new-deployment"], "no orchestrator answers", "rollproof up"),
        (["stop-task"], "no orchestrator answers", "rollproof up"),
        (["wait", "services-stable"], "no orchestrator answers", "rollproof up"),
        (["wait", "for-godot"], "'for-godot' is not one of", "services-stable"),
        (["probe", "--endpoint", "http://127.0.0.1:1/mcp", "--strategy", "hope"], "unknown strategy", "stateless"),
        (["probe", "--endpoint", "ftp://x"], "is not an http URL", "http://127.0.0.1"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], says: str, hint: str, tmp_path: Path, rollproof: Rollproof) -> None:
    (tmp_path / "bad.yaml").write_text(TEMPLATE)
    done = rollproof(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / ".rollproof").exists()


def test_down_with_nothing_up_is_no_error(rollproof: Rollproof) -> None:
    done = rollproof("down")
    assert (done.returncode, done.stdout.strip()) == (0, "nothing was up")


@pytest.mark.parametrize(
    "command",
    [
        "rehearse",
        "up",
        "deploy",
        "status",
        "probe",
        "stop-task",
        "down",
        "report",
        "compare",
        "matrix",
        "knobs",
        "predict",
    ],
)
def test_help_shows_examples(command: str, rollproof: Rollproof) -> None:
    done = rollproof(command, "--help")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert f"rollproof {command}" in done.stdout


def test_piped_output_is_plain(rollproof: Rollproof) -> None:
    done = rollproof("knobs")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "deregistration_del" in done.stdout


def test_knobs_as_json_name_their_source(rollproof: Rollproof) -> None:
    done = rollproof("knobs", "--set", "deregistration_delay_s=30", "--json")
    knobs = {row["name"]: row for row in json.loads(done.stdout)}
    assert knobs["deregistration_delay_s"]["value"] == 30.0
    assert knobs["deregistration_delay_s"]["source"] == "--set"
    assert knobs["desired_count"]["source"].endswith("aws/ecs.yaml:Service.DesiredCount")
    assert knobs["drain_propagation_s"]["source"].startswith("observed")


def test_version_is_told(rollproof: Rollproof) -> None:
    assert rollproof("--version").stdout.startswith("rollproof 0.")
