"""What the suite leaves behind, read and compared; which setups are run; what the page says. The suite itself is not
run here: `make conformance` does that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rollproof.core.errors import UsageError
from tests.conformance import report, run, server
from tests.conformance.report import Outcome
from tests.conformance.setups import SETUPS, choose
from tests.conformance.suite import Failure, Score, read_results, worst

STAMP = "2026-11-24T11-53-11-618Z"


def leave(directory: Path, scenario: str, statuses: Sequence[str]) -> None:
    path = directory / f"server-{scenario}-{STAMP}" / "checks.json"
    path.parent.mkdir(parents=True)
    checks = [
        {"id": f"{scenario}-{n}", "status": status, "errorMessage": "line one\n  line two"}
        for n, status in enumerate(statuses)
    ]
    path.write_text(json.dumps(checks))


def score(**counts: tuple[int, int]) -> Score:
    failures = [Failure(name, f"{name}-{n}", "why") for name, (_, failed) in counts.items() for n in range(failed)]
    return Score(counts, tuple(failures))


def test_results_are_counted_by_scenario_and_failures_keep_their_message(tmp_path: Path) -> None:
    leave(tmp_path, "tools-list", ["SUCCESS", "SUCCESS", "INFO", "SKIPPED", "WARNING"])
    leave(tmp_path, "server-stateless", ["SUCCESS", "FAILURE"])
    (tmp_path / "server-log.txt").write_text("not a scenario")
    found = read_results(tmp_path)
    assert found.by_scenario == {"tools-list": (2, 0), "server-stateless": (1, 1)}
    assert (found.passed, found.failed) == (3, 1)
    assert found.failures == (Failure("server-stateless", "server-stateless-1", "line one line two"),)


def test_nothing_left_behind_is_no_score(tmp_path: Path) -> None:
    assert read_results(tmp_path) == Score({}, ())


def test_scenarios_differ_by_either_number_and_where_one_is_missing() -> None:
    assert score(a=(2, 0), b=(1, 1)).differing(score(a=(2, 0), b=(1, 1))) == []
    assert score(a=(1, 0), b=(1, 1)).differing(score(a=(2, 0), b=(1, 0), c=(1, 0))) == ["a", "b", "c"]


def test_of_several_runs_each_scenario_counts_as_in_its_worst() -> None:
    found = worst([score(a=(3, 0), b=(1, 1), c=(2, 0)), score(a=(2, 1), b=(2, 0), c=(1, 0))])
    assert found.by_scenario == {"a": (2, 1), "b": (1, 1), "c": (1, 0)}
    assert [failure.check for failure in found.failures] == ["a-0", "b-0"]


def test_setups_are_chosen_by_name_and_a_rollout_needs_two_replicas() -> None:
    assert [setup.name for setup in choose("one,stock", rollout=True)] == ["one", "stock", "stock+rollout"]
    assert [setup.name for setup in choose("resilient+rollout, one")] == ["resilient+rollout", "one"]
    assert choose("stock+rollout", rollout=True) == [SETUPS["stock+rollout"]]
    assert SETUPS["stock+rollout"].is_rolling
    assert not SETUPS["stock"].is_rolling
    assert {setup.sessions for setup in SETUPS.values()} == set(server.SESSIONS)


@pytest.mark.parametrize("names", ["", "on", "one+rollout"])
def test_an_unknown_setup_is_refused_with_the_names_there_are(names: str) -> None:
    with pytest.raises(UsageError, match="no such setup") as caught:
        choose(names)
    assert "resilient+rollout" in caught.value.hint


def test_a_wrong_setup_exits_with_2_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--setups", "two"]) == 2
    assert "hint: of: one, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "command"),
    [
        ("--report --keep /tmp/x", "make conformance"),
        ("--rollout", 'make conformance ARGS="--rollout"'),
        (
            "--setups one --scenarios a,b --no-extras",
            'make conformance ARGS="--setups one --scenarios a,b --no-extras"',
        ),
    ],
)
def test_the_page_names_the_command_that_repeats_it(flags: str, command: str) -> None:
    assert run.command_of(run._parser().parse_args(flags.split())) == command


ONE = Outcome(SETUPS["one"], score(a=(2, 0), b=(1, 1)), runs=1)
SAME = score(a=(2, 0), b=(1, 1))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([ONE, Outcome(SETUPS["resilient"], SAME, 1)], 0),
        ([ONE, Outcome(SETUPS["resilient"], SAME, 1), Outcome(SETUPS["resilient+rollout"], score(a=(1, 1)), 2)], 1),
        ([ONE, Outcome(SETUPS["resilient"], why="there is none")], 3),
        ([ONE, Outcome(SETUPS["stock"], score(a=(1, 1)), 1)], 3),
        ([Outcome(SETUPS["resilient"], SAME, 1)], 3),
    ],
)
def test_the_exit_code_says_whether_resilient_scored_as_one_replica(outcomes: list[Outcome], code: int) -> None:
    assert report.exit_code(outcomes) == code


def test_the_page_shows_what_is_not_the_baselines() -> None:
    stock = score(a=(1, 1), b=(1, 1), c=(1, 0))
    rolling = Outcome(SETUPS["stateless+rollout"], SAME, runs=2, replaced=5)
    outcomes = [ONE, Outcome(SETUPS["stock"], stock, 1), rolling, Outcome(SETUPS["resilient"], why="none here")]
    page = report.page(outcomes, {"mcp": "2.3.0"}, "make conformance", "2026-11-24", extras=True)
    assert "| `one` | one stock replica | 3 | 1 | 0 | - |" in page
    assert "| `stock` | two stock replicas | 3 | 2 | 2 | - |" in page
    assert "| 3 | 1 | 0 | 5 in 2 runs |" in page
    assert "| - | - | - | not run: none here |" in page
    one, stock_part, rolling_part = page.split("\n## Failures: ")[1:]
    assert "- ``why``\n  b (`b-0`)" in one
    assert "- ``why``\n  a (`a-0`)" in stock_part
    assert "b-0" not in stock_part
    assert "Scored otherwise, without another failure: c." in stock_part
    assert "None but those of one replica alone." in rolling_part
    assert "Versions: mcp 2.3.0." in page
