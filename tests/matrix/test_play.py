"""Cells one after another: what is kept, what is missing, what goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.disruptions import Disruption
from rollproof.matrix import Asked, Cell, CellStatus, Fate, Matrix, load_matrix, plan_matrix, play_matrix
from rollproof.matrix.model import read_matrix
from rollproof.matrix.play import DISRUPTIONS
from rollproof.rehearsal import Rehearsed
from rollproof.strategies import STRATEGIES
from rollproof.verdict import judge
from tests.matrix.samples import CRASH, REDIS, ROLLING, at
from tests.verdict import stories

ASKED = Asked("local")


class Stage:
    """Plays cells from stories: sessions in memory are lost, all others survive. `errors` come instead."""

    def __init__(self, directory: Path, errors: dict[Cell, Exception] | None = None) -> None:
        self._directory, self._errors = directory, errors or {}
        self.played: list[Cell] = []

    async def play(self, cell: Cell) -> Rehearsed:
        self.played.append(cell)
        if cell in self._errors:
            raise self._errors[cell]
        tale = stories.lost_at_drain() if cell.strategy == "memory" else stories.survived()
        run_dir = self._directory.absolute() / f"{len(self.played)}-{cell.strategy}-{cell.disruption}"
        run_dir.mkdir(parents=True)
        (run_dir / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in tale.records))
        return Rehearsed(judge(tale.records), run_dir)


def two_by_two() -> Matrix:
    return plan_matrix(ASKED, ["memory", "stateless"], ["rolling", "crash"])


def test_nothing_named_is_everything() -> None:
    made = plan_matrix(ASKED, [], [])
    assert [row.name for row in made.rows] == list(STRATEGIES)
    assert made.disruptions == DISRUPTIONS
    assert Disruption.CRASHING_IMAGE not in made.disruptions


def test_what_does_not_apply_is_not_played() -> None:
    made = plan_matrix(ASKED, ["memory", "stateless"], ["redis-restart", "rolling"])
    assert [(x.cell, x.fate) for x in made.cells] == [(at("memory", REDIS), Fate.NOT_APPLICABLE)]
    assert made.missing() == [at("memory"), at("stateless", REDIS), at("stateless")]


@pytest.mark.parametrize(
    ("strategies", "disruptions", "says"),
    [
        (["hope"], [], "unknown strategy 'hope'"),
        ([], ["flood"], "unknown disruption 'flood'"),
        (["memory", "memory"], [], "given twice"),
        ([], ["crash", "crash"], "given twice"),
    ],
)
def test_names_that_there_are_not_are_refused(strategies: list[str], disruptions: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        plan_matrix(ASKED, strategies, disruptions)


async def test_cells_are_played_row_by_row_and_each_is_kept_at_once(tmp_path: Path) -> None:
    stage, told = Stage(tmp_path), list[tuple[int, Cell | None]]()

    def listen(matrix: Matrix, cell: Cell | None) -> None:
        assert read_matrix(tmp_path) == matrix
        told.append((len(matrix.cells), cell))

    made = await play_matrix(two_by_two(), tmp_path, stage.play, listen, clock=lambda: 0.0)
    cells = [at("memory"), at("memory", CRASH), at("stateless"), at("stateless", CRASH)]
    assert stage.played == cells
    assert told == [(0, cells[0]), (1, cells[1]), (2, cells[2]), (3, cells[3]), (4, None)]
    assert [x.fate for x in made.cells] == [Fate.LOST, Fate.LOST, Fate.SURVIVED, Fate.SURVIVED]
    assert made.cells[0].run == "1-memory-rolling"
    assert made.exit_code == 0
    assert read_matrix(tmp_path) == made


async def test_how_long_a_cell_took_is_measured(tmp_path: Path) -> None:
    ticks: Iterator[float] = iter([0.0, 12.34, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0])
    made = await play_matrix(two_by_two(), tmp_path, Stage(tmp_path).play, clock=lambda: next(ticks))
    assert [x.took_s for x in made.cells] == [12.3, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("is_grouped", [False, True])
async def test_a_cell_that_cannot_be_played_is_kept_as_such_and_the_next_follows(
    tmp_path: Path, is_grouped: bool
) -> None:
    error: Exception = Permanent("the service never became steady: task 1")
    stage = Stage(tmp_path, {at("memory"): ExceptionGroup("parts", [error]) if is_grouped else error})
    made = await play_matrix(two_by_two(), tmp_path, stage.play)
    assert len(stage.played) == 4
    assert (made.cells[0].status, made.cells[0].reason) == (
        CellStatus.FAILED,
        "the service never became steady: task 1",
    )
    assert made.exit_code == 3
    assert made.missing() == [at("memory")]


@pytest.mark.parametrize("error", [ValueError("a bug"), ExceptionGroup("parts", [ValueError("a bug")])])
async def test_a_bug_is_no_result(tmp_path: Path, error: Exception) -> None:
    stage = Stage(tmp_path, {at("stateless"): error})
    with pytest.raises(type(error)):
        await play_matrix(two_by_two(), tmp_path, stage.play)
    assert [x.cell for x in read_matrix(tmp_path).cells] == [at("memory"), at("memory", CRASH)]


async def test_interrupted_it_keeps_what_is_done_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    stage, reached = Stage(tmp_path / "first"), asyncio.Event()

    async def until_the_third(cell: Cell) -> Rehearsed:
        if cell == at("stateless"):
            reached.set()
            await asyncio.Event().wait()
        return await stage.play(cell)

    run = asyncio.create_task(play_matrix(two_by_two(), tmp_path, until_the_third))
    await asyncio.wait_for(reached.wait(), 5)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    kept = load_matrix(tmp_path)
    assert kept.missing() == [at("stateless"), at("stateless", CRASH)]
    rest = Stage(tmp_path / "second")
    made = await play_matrix(kept, tmp_path, rest.play)
    assert rest.played == kept.missing()
    assert made.cells[:2] == kept.cells
    assert made.missing() == []


async def test_resumed_a_failed_cell_is_played_again_in_its_place(tmp_path: Path) -> None:
    first = Stage(tmp_path / "first", {at("memory", CRASH): Permanent("no")})
    await play_matrix(two_by_two(), tmp_path, first.play)
    second = Stage(tmp_path / "second")
    made = await play_matrix(load_matrix(tmp_path), tmp_path, second.play)
    assert second.played == [at("memory", CRASH)]
    assert [x.cell for x in made.cells] == list(made.all_cells())
    assert made.cells[1].status is CellStatus.PLAYED


def test_a_matrix_of_strategies_that_have_gone_cannot_go_on(tmp_path: Path) -> None:
    made = two_by_two()
    asyncio.run(play_matrix(made, tmp_path, Stage(tmp_path).play))
    file = tmp_path / "matrix.json"
    file.write_text(file.read_text().replace("stateless", "ghost"))
    with pytest.raises(UsageError, match="unknown strategy 'ghost'"):
        load_matrix(tmp_path)
    assert ROLLING in read_matrix(tmp_path).disruptions  # it can still be looked at
