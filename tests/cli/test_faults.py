"""rollproof faults, and faults that cannot be played: exit code 2, one message, nothing started."""

from __future__ import annotations

import json

import pytest

from rollproof.sim.faults.catalogue import FAULTS
from tests.cli.conftest import Rollproof


def test_all_are_listed_with_parameters_and_an_example(rollproof: Rollproof) -> None:
    done = rollproof("faults")
    assert done.returncode == 0
    for name, fault in FAULTS.items():
        assert name in done.stdout
        assert all(each.name in done.stdout for each in fault.parameters())
    assert "unhealthy" in done.stdout


def test_the_same_facts_as_json(rollproof: Rollproof) -> None:
    told = json.loads(rollproof("faults", "--json").stdout)
    assert [fault["name"] for fault in told["faults"]] == list(FAULTS)
    [slow] = [fault for fault in told["faults"] if fault["name"] == "redis-slow"]
    assert slow["parameters"] == [{"name": "delay_s", "default": 1.0, "unit": "s", "text": "added to every answer"}]
    assert told["whom"]["node"][-1] == "node-1"


def test_rehearse_with_fault_help_lists_them_too(rollproof: Rollproof) -> None:
    assert "orchestrator-crash" in rollproof("rehearse", "--fault", "help").stdout


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--fault", "hung at 3 s"], "no fault is called 'hung'", "rollproof faults"),
        (["--fault", "hang at target dancing"], "no target is ever dancing", "draining"),
        (["--fault", "clock-step at 3 s"], "the local stage cannot play the fault clock-step", "--stage sim"),
        (["--stage", "docker", "--fault", "hang at 3 s"], "the docker stage cannot", "--stage local or sim"),
        (["--disruption", "none"], "nothing happens", "rollproof faults"),
        (["--stage", "docker", "--disruption", "none"], "nothing happens", "rollproof faults"),
        (
            ["--stage", "sim", "--strategy", "memory", "--fault", "redis-flush at 3 s"],
            "this rehearsal has no Redis",
            "--strategy",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(
    rollproof: Rollproof, arguments: list[str], says: str, hint: str
) -> None:
    done = rollproof("rehearse", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert hint in done.stderr
