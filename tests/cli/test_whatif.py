"""rollproof whatif: a row a combination, as a table, JSON and CSV; and what it refuses."""

from __future__ import annotations

import csv
import json

import pytest

from rollproof.cli.whatif import progress_text
from rollproof.cli.whatif_sweep import cases, varied
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.sim.heap import COMES_UP, Clients
from tests.cli.conftest import Rollproof


def test_table_has_a_row_a_combination_in_the_order_asked_for(rollproof: Rollproof) -> None:
    done = rollproof("whatif", "--vary", "deregistration_delay_s=30,300", "--vary", "sessions_in=memory,redis")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:5] == ["deregistration_delay_s", "sessions_in", "lost", "degraded", "failed"]
    assert [line[:3] for line in lines[1:5]] == [
        ["30", "memory", "100"],
        ["30", "redis", "0"],
        ["300", "memory", "100"],
        ["300", "redis", "0"],
    ]
    assert lines[4][-5:] == ["402", "s", "422", "s", "completed"]
    assert "4 rollouts in" in done.stdout
    assert done.stderr == ""


def test_json_and_csv_tell_the_same_facts(rollproof: Rollproof) -> None:
    asked = ("whatif", "--vary", "desired_count=1,3", "--set", "deregistration_delay_s=30", "--seeds", "3")
    facts = json.loads(rollproof(*asked, "--json").stdout)
    rows = list(csv.DictReader(rollproof(*asked, "--csv").stdout.splitlines()))
    assert [{k: "" if v is None else str(v) for k, v in fact.items()} for fact in facts] == rows
    assert [(x["desired_count"], x["seeds"], x["lost_max"], x["ended"]) for x in facts] == [
        ("1", 3, 100, "completed"),
        ("3", 3, 100, "completed"),
    ]
    assert facts[0]["sigterm_first_s"] == facts[0]["draining_first_s"] - 0.7 + 40.0  # the next pass after 30 s


def test_without_anything_varied_it_is_one_rollout_of_the_settings_as_they_are(rollproof: Rollproof) -> None:
    [fact] = json.loads(rollproof("whatif", "--json", "--sessions", "7", "--interval", "5").stdout)
    assert (fact["sessions"], fact["lost_max"], fact["sessions_in"]) == (7, 7, "memory")


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--vary", "desired_cuont=1,2"], "unknown knob 'desired_cuont'", "desired_count"),
        (["--vary", "desired_count"], "is not KNOB=VALUE,VALUE", "--vary desired_count=1,2,10"),
        (["--vary", "desired_count=1,"], "is not KNOB=VALUE,VALUE", "--vary desired_count=1,2,10"),
        (["--vary", "desired_count=1,many"], "desired_count=many", "desired_count"),
        (["--vary", "desired_count=1", "--vary", "desired_count=2"], "given twice", "KNOB=A,B,C"),
        (["--vary", "availability_zones=a,b"], "a list itself", "--set"),
        (["--vary", "deregistration_delay_s=0,4000"], "deregistration_delay_s=4000: ", "range"),
        (["--vary", "desired_count=1,20000"], "desired_count=20000: a desired count of 20000", "1 to 10000 tasks"),
        (["--vary", "sessions_in=disk"], "sessions_in 'disk'", "memory, redis, client"),
        (["--vary", "sessions=many"], "sessions 'many' is not a number", ""),
        (["--sessions", "2000000"], "2000000 sessions are out of range", "1 to 1000000"),
        (["--interval", "0"], "an interval of 0 s", "0.1 to 3600 s"),
        (["--seeds", "0"], "--seeds 0", "1 or more"),
        (["--json", "--csv"], "exclude each other", "one of them"),
        (["--platform", "lambda"], "does not play routing exclusive", "local stage"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], says: str, hint: str, rollproof: Rollproof) -> None:
    done = rollproof("whatif", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_last_knob_turns_quickest_and_timings_are_knobs() -> None:
    found = cases(Settings(), Timing(), Clients(), varied(["drain_propagation_s=0,12", "nodes=1,2"]))
    assert [(x.timing.drain_propagation_s, x.settings.behaviour.nodes) for x in found] == [
        (0, 1),
        (0, 2),
        (12, 1),
        (12, 2),
    ]


def test_progress_names_the_rollout_and_where_it_is() -> None:
    [case] = cases(Settings(), Timing(), Clients(1_000), {})
    text = progress_text(case, 2, 40, at_s=90.0, took_s=3.2)
    assert text == "rollout 3 of 40: 2 tasks, 1000 sessions, 90 s after its deployment (3 s so far)"
    assert "before its deployment" in progress_text(case, 0, 1, at_s=COMES_UP, took_s=3.2)
