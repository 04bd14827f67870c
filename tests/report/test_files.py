"""summary.json and junit.xml: the same facts for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from rollproof.core.errors import Permanent
from rollproof.report import render_junit, summary_json, write_reports
from rollproof.verdict import judge
from tests.verdict import stories
from tests.verdict.stories import ANNA, BERT, CARL, READ, T0, Tale


def summary(tale: Tale) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(summary_json(judge(tale.records))))
    return loaded


def suite(tale: Tale) -> ET.Element:
    found = ET.fromstring(render_junit(judge(tale.records))).find("testsuite")
    assert found is not None
    return found


def case(found: ET.Element, name: str) -> ET.Element:
    return next(each for each in found.iter("testcase") if each.get("name") == name)


def test_the_summary_has_the_published_names_for_the_run_and_for_each_session() -> None:
    facts = summary(stories.lost_at_drain())
    names = {
        "http_status_counts",
        "unique_task_ids",
        "first_task_id",
        "last_task_id",
        "max_state_size",
        "session_not_found_count",
        "error_rows",
        "session_complete",
    }
    assert names <= facts.keys()
    assert all(names <= session.keys() for session in facts["sessions"])
    assert (facts["session_not_found_count"], facts["session_complete"]) == (7, False)


def test_the_summary_tells_what_the_terminal_tells() -> None:
    facts = summary(stories.lost_at_drain())
    assert (facts["verdict"], facts["exit_code"]) == ("fail", 1)
    assert facts["session_counts"] == {"survived": 0, "degraded": 0, "lost": 2}
    assert facts["replaced_tasks"] == [ANNA, BERT]
    assert facts["sessions"][0]["first_failure"]["signature"] == "404 / -32600 Session not found"
    assert [finding["id"] for finding in facts["findings"]] == ["atomic-failure", "green-dashboard", "cliff"]
    assert [check["outcome"] for check in facts["checks"]] == ["pass", "pass", "unknown"]
    assert facts["timeline"][1]["measured_s"] == [14.0]
    assert facts["cliffs"][0]["target_id"] == "127.0.0.1:4001"
    events = {event["name"] for event in facts["cliffs"][0]["events"]}
    assert events >= {"nodes stop routing", "target unused", "SIGTERM", "SIGKILL"}
    assert [edge["name"] for edge in facts["cliffs"][0]["edges"]] == ["sessions move", "streams cut"]
    assert facts["around_break"][-2]["is_break"] is True
    assert facts["replay"] == {"seed": 7, "command": "rollproof rehearse --strategy memory"}


def test_junit_has_a_case_for_the_rehearsal_each_session_and_each_check() -> None:
    found = suite(stories.lost_at_drain())
    assert [(each.get("classname"), each.get("name")) for each in found.iter("testcase")] == [
        ("rollproof.verdict", "rehearsal"),
        ("rollproof.sessions", "s1"),
        ("rollproof.sessions", "s2"),
        ("rollproof.checks", "sigterm-after-drain"),
        ("rollproof.checks", "no-request-after-drain"),
        ("rollproof.checks", "sigkill-after-stop-timeout"),
    ]
    counts = {name: found.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "3", "errors": "0", "skipped": "1"}
    failure = case(found, "s1").find("failure")
    assert failure is not None
    assert failure.get("message") == "404 / -32600 Session not found"
    assert (failure.text or "").startswith("target 127.0.0.1:4001 (task a1a1a1a1) began draining")


def test_a_passing_run_has_no_failure_and_degraded_sessions_say_why() -> None:
    found = suite(stories.crashed())
    assert (found.get("failures"), found.get("errors")) == ("0", "0")
    told = case(found, "s1").findtext("system-out")
    assert told is not None
    assert told.startswith("degraded for 9.9 s: target 127.0.0.1:4001")


def test_an_unknown_verdict_is_an_error_and_never_a_green_suite() -> None:
    error = case(suite(Tale()), "rehearsal").find("error")
    assert error is not None
    assert error.get("message") == "nothing was proved: no session called: there was nothing to lose"


def test_a_broken_rule_fails_its_check() -> None:
    failure = case(suite(stories.survived().request(ANNA, T0 + 140.0)), "no-request-after-drain").find("failure")
    assert failure is not None


def test_what_xml_cannot_hold_is_replaced() -> None:
    tale = Tale().replaced().call("s\x1b1", 1, READ, 130.0, CARL, ok=False, http_status=500, error="\x00<&>\ud800")
    assert case(suite(tale), "s?1").find("failure") is not None


def test_reports_are_written_beside_the_history(tmp_path: Path) -> None:
    verdict = write_reports(tmp_path / "runs" / "one", stories.survived().records)
    written = json.loads((tmp_path / "runs" / "one" / "summary.json").read_text(encoding="utf-8"))
    assert (verdict.exit_code, written["verdict"]) == (0, "pass")
    assert (tmp_path / "runs" / "one" / "junit.xml").read_text(encoding="utf-8").startswith("<testsuites>")


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot write the reports of") as caught:
        write_reports(tmp_path / "file", stories.survived().records)
    assert "the history is whole" in caught.value.hint
