"""What a failing test prints, and what a result offers to assertions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.disruptions import Disruption
from rollproof.rehearsal import Rehearsal
from rollproof.subject import find_subject
from rollproof.testing.rollouts import replay
from rollproof.testing.rollouts.apps import AppChoice
from rollproof.testing.rollouts.arguments import read_arguments
from rollproof.testing.rollouts.call import FEW
from rollproof.testing.rollouts.result import RolloutResult
from rollproof.testing.rollouts.story import compared, tell
from rollproof.verdict import judge
from tests.verdict.stories import Tale, lost_at_drain, survived

AGAIN = replay.Commands("pytest test_it.py::test_it --rollproof-seed 7", "rollproof report runs/1")


def result_of(tale: Tale, tmp_path: Path) -> RolloutResult:
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in tale.records))
    return RolloutResult(judge(tale.records), tmp_path, commands=AGAIN, test="def test_rollout(rollout): ...")


def test_the_story_names_task_target_state_and_split_pair(tmp_path: Path) -> None:
    told = tell(result_of(lost_at_drain(), tmp_path))
    for words in (
        "  114.5 s  target 127.0.0.1:4001 (task a1a1a1a1) draining",
        "  124.0 s  s1 call 24 set_session_value answered on task a1a1a1a1",
        ">   129.1 s  s1 call 24 get_session_state FAILED: 404 / -32600 Session not found",
        "s1, call 24: set_session_value succeeded on task a1a1a1a1",
        "  pytest test_it.py::test_it --rollproof-seed 7",
        "    def test_rollout(rollout): ...",
        "The whole report: rollproof report runs/1",
    ):
        assert words in told


def test_counts_are_numbers_that_know_their_sessions(tmp_path: Path) -> None:
    result = result_of(lost_at_drain(), tmp_path)
    assert (result.sessions_lost, result.sessions_degraded, result.sessions_survived) == (2, 0, 0)
    assert [session.session for session in result.sessions_lost.sessions] == ["s1", "s2"]
    assert repr(result).startswith("<rollout: fail, 0 survived, 0 degraded, 2 lost;")


def test_an_assertion_about_a_count_is_told_in_words(tmp_path: Path) -> None:
    result = result_of(lost_at_drain(), tmp_path)
    said = compared("==", result.sessions_lost, 0)
    assert said is not None
    assert said[0] == "2 sessions lost == 0"
    assert said[1].startswith("2 of 2 sessions lost; first s1: target 127.0.0.1:4001 (task a1a1a1a1) began draining")
    assert compared("==", 1, 2) is None


def test_the_timeline_is_text_and_can_be_asked(tmp_path: Path) -> None:
    timeline = result_of(lost_at_drain(), tmp_path).timeline
    assert "draining" in timeline
    assert "a flood" not in timeline
    told = str(timeline).splitlines()
    assert len(told) == len(timeline)
    assert [line for line in told if line.startswith(">")] == [
        ">   129.1 s  s1 call 24 get_session_state FAILED: 404 / -32600 Session not found"
    ]


def test_assert_survived(tmp_path: Path) -> None:
    result_of(survived(), tmp_path).assert_survived()
    with pytest.raises(AssertionError, match="What broke first"):
        result_of(lost_at_drain(), tmp_path).assert_survived()
    nothing_proved = Tale().settings().warmed_up()
    with pytest.raises(AssertionError, match="nothing was done to the service"):
        result_of(nothing_proved, tmp_path).assert_survived()


def test_the_same_call_as_commands_and_as_a_test() -> None:
    said = {"app": "my_server:mcp", "desired_count": 2, "sticky_overrides_drain": True, "disruption": "crash"}
    said |= {"cookies": "none", "env": {"A": "b c"}, "faults": ["hang at target draining + 3 s for 30 s"]}
    asked = replace(read_arguments(said), seed=7)
    subject = find_subject(app="my_server:mcp")
    probe = replace(FEW, **asked.probe)
    rehearsal = Rehearsal(
        subject, subject.settings, probe=probe, seed=7, disruption=Disruption.CRASH,
        command=replay.pytest_command("test_it.py::test_it[a b]", asked),
    )  # fmt: skip
    made = replay.commands(asked, AppChoice("my_server:mcp", Path()), rehearsal, Path("runs/1"))
    assert made.again == "pytest 'test_it.py::test_it[a b]' --rollproof-seed 7"
    assert made.rehearse == (
        "rollproof rehearse --stage sim --app my_server:mcp --disruption crash"
        " --fault 'hang at target draining + 3 s for 30 s' --env 'A=b c' --set desired_count=2"
        " --set sticky_overrides_drain=true --sessions 4 --delay 10 --cookies none --seed 7"
    )
    test = replay.pasteable(said, asked)
    assert test == (
        "def test_rollout(rollout):\n    result = rollout(\n"
        '        "my_server:mcp",\n        desired_count=2,\n        sticky_overrides_drain=True,\n'
        "        disruption=\"crash\",\n        cookies=\"none\",\n        env={'A': 'b c'},\n"
        '        faults=["hang at target draining + 3 s for 30 s"],\n'
        "        seed=7,\n    )\n"
        "    result.assert_survived()"
    )


def test_no_command_is_offered_that_says_less_than_the_call() -> None:
    asked = read_arguments({"app": "my_server:mcp", "write": "set_note", "read": "get_notes"})
    subject = find_subject(app="my_server:mcp")
    rehearsal = Rehearsal(subject, subject.settings, probe=replace(FEW, **asked.probe))
    made = replay.commands(asked, AppChoice("my_server:mcp", Path()), rehearsal, Path("runs/1"))
    assert made.rehearse == ""
