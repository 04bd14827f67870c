"""Plays a matrix: cell after cell, each kept at once, so that what is done stays done whatever ends it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rollproof import __version__
from rollproof.core.errors import RollproofError, UsageError
from rollproof.disruptions import Disruption
from rollproof.history import read_history
from rollproof.matrix.model import (
    MATRIX_FILE,
    Asked,
    Cell,
    CellResult,
    CellStatus,
    Matrix,
    Row,
    read_matrix,
    write_matrix,
)
from rollproof.matrix.summary import summarise
from rollproof.rehearsal import Rehearsed
from rollproof.strategies import STRATEGIES, find_strategy

DISRUPTIONS = (
    Disruption.ROLLING,
    Disruption.CRASH,
    Disruption.STOP_TASK,
    Disruption.SCALE_IN,
    Disruption.BAD_IMAGE,
    Disruption.REDIS_RESTART,
)
"""What is done unless others are named."""

PlayCell = Callable[[Cell], Awaitable[Rehearsed]]
Listen = Callable[[Matrix, Cell | None], None]


def plan_matrix(asked: Asked, strategies: Sequence[str], disruptions: Sequence[str], command: str = "") -> Matrix:
    """What is to be played; none named: all strategies, DISRUPTIONS. What does not apply is in it already.

    Raises UsageError for a name that there is not, or one given twice.
    """
    names, kinds = strategies or list(STRATEGIES), [_disruption(name) for name in disruptions] or list(DISRUPTIONS)
    for given in (names, kinds):
        if len(set(given)) < len(given):
            raise UsageError(f"{', '.join(given)}: a name is given twice", hint="each of them once")
    found = [find_strategy(name) for name in names]
    rows = tuple(Row(x.name, x.summary, x.expected, x.uses_redis) for x in found)
    empty = Matrix(
        asked,
        rows,
        tuple(kinds),
        began_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rollproof=__version__,
        command=command,
        machine=f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
    )
    return replace(empty, cells=tuple(filter(None, map(_not_applicable, _places(empty)))))


def load_matrix(directory: Path) -> Matrix:
    """The one in `directory`. Raises UsageError where there is none, or where its strategies have gone."""
    matrix = read_matrix(directory)
    for row in matrix.rows:
        find_strategy(row.name)
    return matrix


async def play_matrix(
    matrix: Matrix,
    directory: Path,
    play: PlayCell,
    listen: Listen | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Matrix:
    """Play what is missing; `matrix.json` in `directory` is written before the first cell and after each.

    `listen` is told before each cell, and after the last one. A cell that cannot be played is kept as failed with its
    error, and the next one follows. Raises Permanent where the file cannot be written.
    """
    write_matrix(matrix, directory / MATRIX_FILE)
    for cell in matrix.missing():
        if listen is not None:
            listen(matrix, cell)
        began = clock()
        result = await _played(cell, directory, play)
        matrix = with_result(matrix, replace(result, took_s=round(clock() - began, 1)))
        write_matrix(matrix, directory / MATRIX_FILE)
    if listen is not None:
        listen(matrix, None)
    return matrix


def with_result(matrix: Matrix, result: CellResult) -> Matrix:
    """In the order of the table, in place of an earlier result of the cell."""
    found = {each.cell: each for each in matrix.cells} | {result.cell: result}
    return replace(matrix, cells=tuple(found[cell] for cell in matrix.all_cells() if cell in found))


async def _played(cell: Cell, directory: Path, play: PlayCell) -> CellResult:
    try:
        done = await play(cell)
    except (RollproofError, ExceptionGroup) as error:
        ours = _ours(error)
        if ours is None:
            raise  # a bug: what was played until now is kept
        return CellResult(cell.strategy, cell.disruption, CellStatus.FAILED, reason=ours.message)
    return summarise(cell, done.verdict, read_history(done.run_dir / "history.jsonl"), run=_beside(done, directory))


def _ours(error: Exception) -> RollproofError | None:
    """The first error of ours in it; a stage's parts fail in groups."""
    if isinstance(error, ExceptionGroup):
        return next(filter(None, map(_ours, error.exceptions)), None)
    return error if isinstance(error, RollproofError) else None


def _beside(done: Rehearsed, directory: Path) -> str:
    """The run's name in `directory`; its whole path where the stage keeps its runs elsewhere."""
    return done.run_dir.name if done.run_dir.parent == directory.absolute() else str(done.run_dir)


def _places(matrix: Matrix) -> list[tuple[Row, Disruption]]:
    return [(row, disruption) for row in matrix.rows for disruption in matrix.disruptions]


def _not_applicable(where: tuple[Row, Disruption]) -> CellResult | None:
    row, disruption = where
    if disruption is not Disruption.REDIS_RESTART or row.uses_redis:
        return None
    return CellResult(row.name, disruption, CellStatus.NOT_APPLICABLE, reason="this strategy has no Redis")


def _disruption(name: str) -> Disruption:
    try:
        return Disruption(name)
    except ValueError:
        raise UsageError(f"unknown disruption {name!r}", hint=f"one of {', '.join(Disruption)}") from None
