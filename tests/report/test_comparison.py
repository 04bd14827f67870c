"""Comparisons as text: one pair, many pairs, Markdown, JSON. The expected texts stand in golden/."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from rollproof.report.comparison import comparison_json, render_comparison
from rollproof.report.comparison_table import (
    COLUMNS,
    Pair,
    pairs_conclusion,
    pairs_json,
    pairs_markdown,
    pairs_outcome,
    render_pairs,
)
from rollproof.verdict import Outcome, judge
from rollproof.verdict.comparison import compare_runs
from rollproof.verdict.comparison_model import Comparison
from rollproof.verdict.records import read
from tests.verdict import stories
from tests.verdict.stories import ANNA, CARL, Tale

GOLDEN = Path(__file__).parent / "golden"


def compared(a: Tale, b: Tale, **settings: str) -> Comparison:
    for tale, stage in ((a, "local"), (b, "docker")):
        for name, value in {"stage": stage, **settings}.items():
            tale.add("setting", 0.1, name=name, value=value)
    return compare_runs(read(a.records), judge(a.records), read(b.records), judge(b.records))


def different() -> Comparison:
    """One lost its sessions, and started its tasks a tick and more late."""
    late = stories.lost_at_drain()
    for record in late.records:
        if "has started" in record.get("message", ""):
            record["t"] += 12.0
    late.add("setting", 0.1, name="timing.deployment_start_s", value=24.0)
    return compared(stories.survived(), late, disruption_name="rolling")


def pairs() -> list[Pair]:
    idle = Tale().settings().warmed_up().talk("s1", 5.0, 60.0, ANNA)
    return [
        Pair("rolling", compared(stories.survived(), stories.survived())),
        Pair("memory rolling", different()),
        Pair("crash", compared(stories.crashed(), stories.crashed())),
        Pair("bad-image", compared(stories.rolled_back("rollback"), idle)),
    ]


def single(comparison: Comparison, width: int = 100, *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    render_comparison(comparison, console=console, names=("runs/a", "runs/b"))
    return file.getvalue()


def table(found: list[Pair], width: int = 160) -> str:
    file = io.StringIO()
    render_pairs(found, ["runs/c"], console=Console(file=file, width=width, color_system=None))
    return file.getvalue()


def test_two_runs_that_differ_are_told_as_approved() -> None:
    assert single(different(), 140) == (GOLDEN / "comparison.txt").read_text(encoding="utf-8")


def test_many_pairs_are_told_as_approved() -> None:
    assert table(pairs()) == (GOLDEN / "comparison_pairs.txt").read_text(encoding="utf-8")


def test_the_markdown_is_as_approved() -> None:
    assert pairs_markdown(pairs()) == (GOLDEN / "comparison_pairs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_wider_than_the_console_or_ends_in_blanks(width: int) -> None:
    lines = [*single(different(), width).splitlines(), *table(pairs(), width).splitlines()]
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_pipe_gets_no_colour_codes_and_a_terminal_does() -> None:
    assert "\x1b" not in single(different())
    assert "\x1b[1;31m2 differences\x1b[0m" in single(
        compared(stories.survived(), stories.lost_at_drain()), terminal=True
    )


def test_the_last_line_says_it() -> None:
    assert single(compared(stories.survived(), stories.survived())).splitlines()[-1] == "same story"
    idle = Tale().settings().warmed_up().talk("s1", 5.0, 60.0, CARL)
    told = single(compared(stories.survived(), idle)).splitlines()[-1]
    assert told == "nothing to compare: nothing was done to the service in B"


def test_a_servers_words_are_text_and_not_markup() -> None:
    a, b = stories.survived(), stories.survived()
    b.event(b.when("healthy"), "[bold]tells[/bold] | more")
    found = compared(a, b)
    assert 'only in B: "[bold]tells[/bold] | more"' in single(found, 140)
    assert r"a \| b" in pairs_markdown([Pair("a | b", found)])


def test_json_has_the_same_facts() -> None:
    told = json.loads(json.dumps(comparison_json(different())))
    assert (told["comparison"], told["exit_code"], told["is_same"]) == ("fail", 1, False)
    assert {difference["kind"] for difference in told["differences"]} == {"verdict", "offsets"}
    assert told["offsets"][0]["name"] == "has started tasks: (new task)."
    assert told["offsets"][0]["difference_s"] == 12.0
    assert told["a"]["sessions"] == {"survived": 2, "degraded": 0, "lost": 0}
    assert told["b"]["story"]["tasks"]["new task"][0]["states"][-1] == "RUNNING"


def test_pairs_as_json_name_the_runs_without_a_partner() -> None:
    told = json.loads(json.dumps(pairs_json(pairs(), ["runs/c"])))
    assert told["unpaired"] == ["runs/c"]
    assert [pair["rehearsal"] for pair in told["pairs"]] == ["rolling", "memory rolling", "crash", "bad-image"]


def test_the_worst_pair_decides_and_a_run_alone_proves_nothing() -> None:
    same, worse, _, unknown = pairs()
    assert pairs_outcome([same]) is Outcome.PASS
    assert pairs_outcome([same], ["runs/c"]) is Outcome.UNKNOWN
    assert pairs_outcome([same, unknown]) is Outcome.UNKNOWN
    assert pairs_outcome([same, unknown, worse]) is Outcome.FAIL
    assert pairs_conclusion([same, unknown]) == "1 of 2 rehearsals told the same story"


def test_every_row_has_all_columns() -> None:
    rows = pairs_markdown(pairs()).splitlines()
    assert {row.count("|") for row in rows} == {len(COLUMNS) + 1}
