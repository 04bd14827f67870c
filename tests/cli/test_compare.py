"""rollproof compare on directories as a rehearsal leaves them: what is paired, what is refused, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rollproof.cli.main import main
from tests.verdict import stories
from tests.verdict.stories import ANNA, Tale

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rollproof", "compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code if isinstance(ended.value.code, int) else 0, said.out, said.err

    return run


def kept(directory: str, tale: Tale, strategy: str = "", disruption: str = "rolling") -> str:
    """A run's directory with this history, below the current one."""
    tale.add("setting", 0.1, name="strategy", value=strategy)
    tale.add("setting", 0.1, name="disruption_name", value=disruption)
    path = Path(directory)
    path.mkdir(parents=True)
    lines = (json.dumps({"at": "2026-01-01T00:00:00.000000Z", **record}) + "\n" for record in tale.records)
    (path / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    return directory


def test_two_runs_of_one_story(compare: Command) -> None:
    code, said, _ = compare(kept("a", stories.survived()), kept("b", stories.survived()))
    assert (code, said.splitlines()[-1]) == (0, "same story")
    assert said.startswith("A  rolling, speed 1, seed 7  a\nB  rolling, speed 1, seed 7  b\n")


def test_two_strategies_may_be_compared_and_differ(compare: Command) -> None:
    code, said, _ = compare(kept("a", stories.survived()), kept("b", stories.lost_at_drain(), "memory"))
    assert (code, said.splitlines()[-1]) == (1, "2 differences")


def test_a_run_that_replaced_nothing(compare: Command) -> None:
    idle = Tale().settings().warmed_up().triggered().talk("s1", 5.0, 60.0, ANNA)
    code, said, _ = compare(kept("a", stories.survived()), kept("b", idle))
    assert (code, said.splitlines()[-1]) == (3, "nothing to compare: nothing was replaced in B")


def two_directories() -> None:
    kept("a/1", stories.survived())
    kept("a/2", stories.lost_at_drain(), "memory")
    kept("a/3", stories.crashed(), disruption="crash")
    kept("b/7", stories.crashed(), disruption="crash")
    kept("b/8", stories.lost_at_drain(), "memory")
    kept("b/9", stories.survived())


def test_directories_of_runs_are_paired_by_strategy_and_disruption(compare: Command) -> None:
    two_directories()
    code, said, errors = compare("a", "b")
    assert (code, errors) == (0, "")
    assert said.splitlines()[-1] == "3 of 3 rehearsals told the same story"
    assert [line.split("  ")[0] for line in said.splitlines()[1:4]] == ["rolling", "memory rolling", "crash"]


def test_runs_without_a_partner_are_named(compare: Command) -> None:
    two_directories()
    kept("b/6", stories.crashed(), disruption="stop-task")
    code, said, errors = compare("a", "b")
    assert code == 3
    assert errors == "no partner: b/6 (stop-task)\n"
    assert said.splitlines()[-1] == "3 of 3 rehearsals told the same story; 1 run without a partner"


def test_a_rehearsal_done_twice_is_paired_in_order(compare: Command) -> None:
    for side in "ab":
        kept(f"{side}/1", stories.survived())
        kept(f"{side}/2", stories.lost_at_drain())
    assert compare("a", "b")[0] == 0


def test_markdown_and_json(compare: Command) -> None:
    two_directories()
    code, said, _ = compare("a", "b", "--markdown")
    assert (code, len(said.splitlines())) == (0, 5)
    assert said.startswith("| rehearsal | verdict A |")
    assert [pair["is_same"] for pair in json.loads(compare("a", "b", "--json")[1])["pairs"]] == [True] * 3
    assert json.loads(compare("a/1", "b/9", "--json")[1])["is_same"] is True
    assert len(compare("a/1", "b/9", "--markdown")[1].splitlines()) == 3


def test_what_is_no_run_is_refused(compare: Command) -> None:
    kept("a", stories.survived())
    kept("c", stories.crashed(), disruption="crash")
    kept("d/1", stories.crashed(), disruption="crash")
    kept("e/1", stories.survived())
    kept("damaged", stories.survived())
    history = Path("damaged/history.jsonl")
    history.write_text("no json\n" + history.read_text(encoding="utf-8"), encoding="utf-8")
    for arguments, says in (
        (("a", "nowhere"), "a is a run, and the other is none"),
        (("nowhere", "d"), "nowhere is no run and holds none: no history.jsonl"),
        (("a", "c"), "a rehearsed rolling, c crash"),
        (("d", "e"), "no rehearsal is in both d and e"),
        (("a", "damaged"), "damaged"),
    ):
        code, _, errors = compare(*arguments)
        assert (code, says in errors, "hint:" in errors) == (2, True, True), errors
