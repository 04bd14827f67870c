"""What a matrix concludes, and its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.matrix import CellResult, Fate, Matrix
from rollproof.matrix.model import ActivityResult, matrix_json, read_matrix, write_matrix
from rollproof.verdict.model import ActivityState
from tests.matrix.samples import CRASH, MEMORY, ROLLING, as_expected, at, cell, failed, lost, matrix, not_applicable


@pytest.mark.parametrize(
    ("found", "fate"),
    [
        (cell("stateless"), Fate.SURVIVED),
        (cell("stateless", survived=2, degraded=1), Fate.DEGRADED),
        (lost("memory"), Fate.LOST),
        (lost("memory", degraded=3), Fate.LOST),
        (cell("stateless", verdict="unknown"), Fate.UNPROVED),
        (cell("stateless", verdict="fail"), Fate.SURVIVED),  # an activity was broken
        (cell("stateless", verdict="fail", is_proof=False), Fate.UNPROVED),  # a rule of AWS was
        (failed("stateless"), Fate.UNPROVED),
        (not_applicable(), Fate.NOT_APPLICABLE),
    ],
)
def test_the_worst_fate_names_the_cell(found: CellResult, fate: Fate) -> None:
    assert found.fate is fate


@pytest.mark.parametrize(
    ("made", "code", "surprises", "unproved"),
    [
        (as_expected(), 0, 0, 0),
        (matrix(lost("memory"), lost("stateless")), 1, 1, 0),
        (matrix(cell("memory"), cell("stateless")), 1, 1, 0),
        (matrix(lost("memory"), cell("stateless", degraded=1)), 1, 1, 0),
        (matrix(lost("memory"), failed("stateless")), 3, 0, 1),
        (matrix(lost("memory"), cell("stateless", verdict="unknown")), 3, 0, 1),
        (matrix(lost("memory")), 3, 0, 1),  # the other row was not played
        (matrix(cell("memory"), failed("stateless")), 1, 1, 1),  # worse than nothing proved
        (matrix(lost("memory", CRASH), lost("stateless", CRASH)), 0, 0, 0),  # nothing is expected of a crash
        (matrix(not_applicable(), rows=(MEMORY,)), 0, 0, 0),
    ],
)
def test_the_exit_code_is_about_what_was_expected(made: Matrix, code: int, surprises: int, unproved: int) -> None:
    assert (made.exit_code, len(made.surprises()), len(made.unproved())) == (code, surprises, unproved)


def test_missing_is_what_was_never_played_or_could_not_be() -> None:
    made = matrix(lost("memory"), failed("stateless"), not_applicable("memory", CRASH))
    assert made.missing() == [at("stateless"), at("stateless", CRASH)]


def test_what_never_works_was_tried_in_every_run_and_never_well() -> None:
    dead, untried = (
        ActivityResult(ActivityState.DOES_NOT_WORK, 3, 0, "405"),
        ActivityResult(ActivityState.NOT_TRIED, 0, 0),
    )
    broken = ActivityResult(ActivityState.FAILED, 2, 1, "hang")
    made = matrix(
        cell("stateless", activities={"stream": dead, "resume": dead}),
        cell("stateless", CRASH, activities={"stream": dead, "resume": broken, "tasks": untried}),
    )
    assert made.stops_working("stateless") == ["stream"]
    assert made.stops_working("memory") == []
    assert list(made.cells[1].broken) == ["resume"]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = as_expected()
    write_matrix(made, tmp_path / "x" / "matrix.json")
    assert read_matrix(tmp_path / "x") == made
    assert read_matrix(tmp_path / "x" / "matrix.json") == made
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["matrix.json"]


def test_its_file_has_what_its_schema_says() -> None:
    written = json.loads(matrix_json(as_expected()))
    assert written["version"] == 1
    assert written["disruptions"] == ["rolling", "redis-restart"]
    first = written["cells"][0]
    assert (first["strategy"], first["disruption"], first["status"]) == ("memory", "rolling", "played")
    assert first["first_failure"]["signature"] == "404/-32600 Session not found"
    assert first["costs"]["redis_commands"] is None
    assert written["cells"][1]["status"] == "not applicable"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no matrix in"),
        (b"{}", "is not a matrix of this version"),
        (b"[", "is not a matrix of this version"),
        (matrix_json(replace(as_expected(), version=99)), "of version 99"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "matrix.json").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read_matrix(tmp_path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot write"):
        write_matrix(matrix(lost("memory", ROLLING)), tmp_path / "file" / "matrix.json")
