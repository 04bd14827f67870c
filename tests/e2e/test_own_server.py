"""Servers that a user brings, and what programs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.place import OWN_SERVER, QUICK, TINY, Done, Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
FEW = ("--sessions", "4", "--delay", "0.3")
Rehearsed = Callable[[str], Done]


def test_a_factory_of_a_stateless_app_survives(rehearsed: Rehearsed) -> None:
    done = rehearsed("factory")
    assert done.exit_code == 0, done.out + done.err
    assert done.summary["session_counts"] == {"survived": 8, "degraded": 0, "lost": 0}
    assert done.records("setting", name="redis")[0]["value"] == "none"


def test_a_fastmcp_server_with_its_default_sessions_loses_them(rehearsed: Rehearsed) -> None:
    done = rehearsed("fastmcp")
    assert done.exit_code == 1, done.out + done.err
    assert done.summary["session_counts"]["lost"] == 8


def test_json_is_all_there_is_on_standard_output(rehearsed: Rehearsed) -> None:
    done = rehearsed("json")
    told = json.loads(done.out)
    assert (done.exit_code, told["verdict"], told["exit_code"]) == (0, "pass", 0)
    assert told["run_dir"] == str(done.run_dir)
    assert told["replay"]["command"].startswith("rollproof rehearse ")
    assert "\x1b" not in done.out + done.err


def test_a_template_of_ones_own_sets_the_knobs(place: Place) -> None:
    template = str(OWN_SERVER / "ecs.yaml")
    speed = ("--speed", "50", "--parameter", "Delay=100")
    done = place.run("rehearse", *speed, *FEW, "--command", TINY, "--template", template, "--set", "slow_start_s=0")
    assert done.exit_code == 0, done.out + done.err
    settings = {x["name"]: x for x in done.records("setting")}
    assert settings["target_group.deregistration_delay_s"]["value"] == pytest.approx(2.0)
    assert settings["service.desired_count"]["value"] == 3
    assert "ecs.yaml" in settings["service.desired_count"]["source"]
    assert len(done.summary["replaced_tasks"]) == 3


def test_two_rehearsals_at_once_do_not_disturb_each_other(place: Place) -> None:
    """Started in the same second, in the same directory, with the same seed: even their task ids are the same."""
    runs = str(place.root / "both")
    arguments = ("rehearse", *QUICK, *FEW, "--command", TINY, "--json", "--runs", runs)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: place.run(*arguments), range(2))
    told = [json.loads(done.out) for done in (first, second)]
    assert [x["verdict"] for x in told] == ["pass", "pass"], first.err + second.err
    assert told[0]["run_dir"] != told[1]["run_dir"]
    assert [len(x["replaced_tasks"]) for x in told] == [2, 2]


def test_a_report_of_an_earlier_run_is_the_same(place: Place, rehearsed: Rehearsed) -> None:
    done = rehearsed("json")
    again = place.run("report", str(done.run_dir), "--json")
    assert (again.exit_code, again.out) == (done.exit_code, done.out)
    assert done.run_dir is not None
    newest = place.run("report", "--runs", str(done.run_dir.parent))
    assert newest.out.startswith("PASS")


def test_status_as_a_table_and_as_json(place: Place) -> None:
    up = place.start("up", *QUICK, "--port", "0", "--command", TINY)
    up.wait_record("service_event", message="(service mcp-service) has reached a steady state.")
    table = place.run("status")
    assert table.exit_code == 0
    assert "\x1b" not in table.out
    assert "2 of 2 running, steady" in table.out
    assert table.out.count("RUNNING") == 4
    status = json.loads(place.run("status", "--json").out)
    assert (status["running_count"], status["is_steady"], status["pid"]) == (2, True, up.process.pid)
    deploy = place.run("deploy", "--env", "APP_VERSION=2", "--json")
    told = json.loads(deploy.out)
    assert (deploy.exit_code, told["rollout_state"]) == (0, "COMPLETED")
    changed = json.loads(place.run("status", "--json").out)
    assert changed["deployments"][0]["id"] == told["deployment"]
    assert changed["deployments"][0]["task_definition"].endswith(":2")
    assert place.run("down").exit_code == 0
    assert up.end().exit_code == 0
