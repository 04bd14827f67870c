"""Activities and eras in the reports: one short table, JSON, and JUnit."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

from rich.console import Console

from rollproof.report import render_terminal, summary_json
from rollproof.report.junit import render_junit
from rollproof.verdict import judge
from tests.verdict import stories
from tests.verdict.stories import ANNA, CARL, NOT_FOUND, READ, WRITE, Tale


def tale(*eras: str) -> Tale:
    """In each era: elicitation works until the rollout, sampling never does, roots are not offered."""
    told = stories.survived().add("setting", 0.0, name="probe.activities", value=["elicitation", "sampling", "tasks"])
    for era in eras:
        for kind, t, outcome in (
            ("elicitation", 10.0, "ok"),
            ("elicitation", 135.0, "late"),
            ("sampling", 11.0, "failed"),
            ("sampling", 136.0, "failed"),
            ("roots", 12.0, "unsupported"),
        ):
            fields = {"http_status": 404, "rpc_error": NOT_FOUND} if outcome == "failed" else {"signature": outcome}
            told.call(
                "s1", 2, kind, t, ANNA, ok=outcome == "ok", activity=kind, activity_outcome=outcome, era=era, **fields
            )
    return told


def render(told: Tale, width: int = 100) -> str:
    file = io.StringIO()
    render_terminal(judge(told.records), console=Console(file=file, width=width))
    return file.getvalue()


def section(text: str) -> list[str]:
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("Activities"))
    return lines[begin : begin + lines[begin:].index("")]


def test_the_table_says_what_works_and_what_broke() -> None:
    assert section(render(tale("legacy"), 120)) == [
        "Activities: what sessions do besides calling tools",
        "  activity     ok  of",
        "  elicitation   1   2  failed in the rollout: 1 late; first s1 at t=135.0 s: late",
        "  sampling      0   2  does not work: 2 failed; first s1 at t=136.0 s: 404 / -32600 Session not found",
        "  tasks         0   0  not tried: the server has no tool for it, or no session came to it",
        "  roots         0   1  unsupported",
    ]


def test_the_table_names_eras_where_both_were_there() -> None:
    told = section(render(tale("legacy", "modern"), 140))
    assert told[1].split() == ["activity", "era", "ok", "of"]
    assert [line.split()[:4] for line in told[2:4]] == [
        ["elicitation", "legacy", "1", "2"],
        ["elicitation", "modern", "1", "2"],
    ]


def test_a_report_without_activities_has_no_such_table() -> None:
    assert "Activities" not in render(stories.survived())


def test_a_pipe_gets_plain_text_no_wider_than_it_is() -> None:
    lines = render(tale("legacy", "modern"), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)


def test_sessions_are_told_by_era_only_where_both_were_there() -> None:
    both = Tale().replaced()
    for session, era in (("s1", "legacy"), ("s2", "modern")):
        both.call(session, 1, WRITE, 20.0, ANNA, era=era).call(session, 1, READ, 150.0, CARL, era=era)
    assert "  legacy: 1 survived, 0 degraded, 0 lost\n  modern: 1 survived, 0 degraded, 0 lost\n" in render(both)
    alone = Tale().replaced().call("s1", 1, WRITE, 20.0, ANNA, era="legacy")
    assert "legacy:" not in render(alone)


def test_summary_json_has_them_all() -> None:
    summary = json.loads(json.dumps(summary_json(judge(tale("legacy").records))))
    assert [(a["activity"], a["state"], a["tried"], a["ok"], a["unsupported"]) for a in summary["activities"]] == [
        ("elicitation", "failed in the rollout", 2, 1, 0),
        ("sampling", "does not work", 2, 0, 0),
        ("tasks", "not tried", 0, 0, 0),
        ("roots", "unsupported", 1, 0, 1),
    ]
    assert summary["activities"][0]["outcomes"] == {"late": 1}
    assert summary["activities"][0]["first_failure"]["t"] == 135.0
    assert summary["session_counts_by_era"] == {}


def test_junit_fails_only_what_the_rollout_broke() -> None:
    suite = ET.fromstring(render_junit(judge(tale("legacy").records)))
    cases = {
        case.get("name"): [child.tag for child in case]
        for case in suite.iter("testcase")
        if case.get("classname") == "rollproof.activities"
    }
    assert cases == {"elicitation": ["failure"], "sampling": ["skipped"], "tasks": ["skipped"], "roots": ["skipped"]}
