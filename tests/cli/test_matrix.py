"""rollproof matrix on the command line, as far as nothing is played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollproof.cli.matrix_cells import CellPlayer
from rollproof.cli.matrix_progress import MatrixProgress, left_words
from rollproof.cli.running import err
from rollproof.disruptions import Disruption
from rollproof.matrix import Asked, Cell, plan_matrix
from rollproof.matrix.model import write_matrix
from rollproof.matrix.play import with_result
from tests.cli.conftest import Rollproof
from tests.matrix.samples import as_expected, lost, matrix


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--strategies", "hope"], "unknown strategy 'hope'", "stateless"),
        (["--disruptions", "flood"], "unknown disruption 'flood'", "redis-restart"),
        (["--strategies", "memory,memory"], "given twice", "once"),
        (["--measure", "-1"], "--measure -1 is out of range", "no costs"),
        (["--sessions", "0"], "sessions is 0", "least is 1"),
        (["--speed", "0"], "--speed 0 is out of range", "above 0"),
        (["--set", "nonsense=1"], "unknown knob", "hint:"),
        (["--render", "nowhere"], "no matrix in nowhere", "rollproof matrix"),
        (["--resume", "nowhere"], "no matrix in nowhere", "rollproof matrix"),
        (["--resume", "nowhere", "--speed", "5"], "goes on as the matrix began", "leave out"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], says: str, hint: str, tmp_path: Path, rollproof: Rollproof) -> None:
    done = rollproof("matrix", *arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert hint in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_matrix_is_shown_without_playing_anything(tmp_path: Path, rollproof: Rollproof) -> None:
    write_matrix(as_expected(), tmp_path / "m" / "matrix.json")
    done = rollproof("matrix", "--render", "m")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 cells; 2 rolling deployments, all as expected" in done.stdout
    assert "\x1b" not in done.stdout
    assert rollproof("matrix", "--render", "m", "--markdown").stdout.startswith("| strategy | `rolling` |")
    shown = json.loads(rollproof("matrix", "--render", "m", "--json").stdout)
    assert [x["name"] for x in shown["rows"]] == ["memory", "stateless"]


def test_the_exit_code_is_the_matrix(tmp_path: Path, rollproof: Rollproof) -> None:
    write_matrix(matrix(lost("memory"), lost("stateless")), tmp_path / "surprise" / "matrix.json")
    write_matrix(matrix(lost("memory")), tmp_path / "torn" / "matrix.json")
    assert rollproof("matrix", "--render", "surprise").returncode == 1
    torn = rollproof("matrix", "--render", "torn")
    assert torn.returncode == 3
    assert "next: rollproof matrix --resume torn" in torn.stdout


def test_a_matrix_that_is_whole_has_nothing_to_go_on_with(tmp_path: Path, rollproof: Rollproof) -> None:
    write_matrix(as_expected(), tmp_path / "m" / "matrix.json")
    done = rollproof("matrix", "--resume", "m")
    assert done.returncode == 0
    assert "all as expected" in done.stdout


def test_help_shows_examples(rollproof: Rollproof) -> None:
    done = rollproof("matrix", "--help")
    assert "rollproof matrix --stage docker" in done.stdout


class TestCells:
    def player(self, tmp_path: Path, **asked: object) -> CellPlayer:
        made = plan_matrix(Asked("local", balancer="embedded", **asked), ["memory", "stateless"], ["crash", "rolling"])  # type: ignore[arg-type]
        return CellPlayer(made, tmp_path, MatrixProgress(err))

    def test_a_cell_is_a_rehearsal_with_what_was_asked(self, tmp_path: Path) -> None:
        cells = self.player(tmp_path, speed=30.0, seed=4, settings=("deregistration_delay_s=30",), sessions=3)
        cells.check()
        made = cells.rehearsal(Cell("memory", Disruption.CRASH))
        assert (made.strategy, made.disruption, made.speed, made.seed) == ("memory", Disruption.CRASH, 30.0, 4)
        assert made.settings.target_group.deregistration_delay_s == 30.0
        assert made.settings.task_definition.environment["MCP_STATELESS_HTTP"] == "false"
        assert (made.probe.sessions, made.runs_dir, made.name) == (3, tmp_path, "memory-crash")
        assert made.command == (
            "rollproof rehearse --stage local --strategy memory --disruption crash --speed 30 --seed 4 --sessions 3"
            " --delay 0.5 --slow 1 --set deregistration_delay_s=30"
        )

    def test_costs_are_measured_once_a_strategy(self, tmp_path: Path) -> None:
        cells = self.player(tmp_path, measure_s=7.0)
        assert cells.rehearsal(Cell("memory", Disruption.CRASH)).measure_s == 7.0
        made = plan_matrix(
            Asked("local", balancer="embedded", measure_s=7.0), ["memory", "stateless"], ["crash", "rolling"]
        )
        costly = with_result(made, as_expected().cells[0])
        cells = CellPlayer(costly, tmp_path, MatrixProgress(err))
        assert cells.rehearsal(Cell("memory", Disruption.CRASH)).measure_s == 0.0
        assert cells.rehearsal(Cell("stateless", Disruption.CRASH)).measure_s == 7.0


class TestProgress:
    def test_time_left_is_that_of_the_cells_played(self) -> None:
        made = plan_matrix(Asked("local"), ["memory", "stateless"], ["rolling", "redis-restart"])
        assert left_words(made) == ""
        assert left_words(with_result(made, lost("memory", took_s=20.0))) == ", about 40 s left"
        assert left_words(with_result(made, lost("memory", took_s=120.0))) == ", about 4 min left"

    def test_in_a_pipe_each_cell_is_two_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        made = plan_matrix(Asked("local"), ["memory"], ["rolling"])
        with MatrixProgress(err) as progress:
            progress.follow(made, Cell("memory", Disruption.ROLLING))
            progress.listen({"kind": "mark", "t": 1.0, "name": "warmed-up"})
            progress.follow(with_result(made, lost("memory")), None)
        assert capsys.readouterr().err.splitlines() == ["cell 1 of 1: memory rolling", "  lost 2/3"]
