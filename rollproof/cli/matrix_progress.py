"""What a matrix shows while it is played, on standard error: which cell of how many, and how much longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from rollproof.history import Record
from rollproof.matrix import Cell, CellStatus, Matrix
from rollproof.matrix.words import cell_words

_BEATS = {
    "warmed-up": "clients are calling",
    "not-warmed-up": "clients are calling, and fail",
    "deployment-triggered": "deployment",
    "redis-back": "Redis answers again",
    "steady": "steady again",
}


class MatrixProgress:
    """Use as a context. `follow` is told of cells, `listen` of the records of the one that is played."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._status = Status("setting the stage ...", console=console)
        self._title, self._began_at = "", clock()
        self._now: Cell | None = None

    def __enter__(self) -> MatrixProgress:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def follow(self, matrix: Matrix, cell: Cell | None) -> None:
        """Before each cell, and once more after the last."""
        if self._now is not None:
            self._console.print(escape(f"  {cell_words(matrix, self._now)}"), soft_wrap=True)
        self._now, self._began_at = cell, self._clock()
        if cell is not None:
            missing, total = matrix.missing(), len(list(matrix.all_cells()))
            self._title = f"cell {total - len(missing) + 1} of {total}: {cell.strategy} {cell.disruption}"
            self._console.print(escape(f"{self._title}{left_words(matrix)}"), soft_wrap=True)

    def listen(self, record: Record) -> None:
        if record["kind"] == "mark":
            self.say(_BEATS.get(str(record["name"]), str(record["name"])))

    def say(self, what: str) -> None:
        if self._console.is_terminal:
            took_s = self._clock() - self._began_at
            self._status.update(escape(f"{self._title}: {what} ({took_s:.0f} s so far)"))


def left_words(matrix: Matrix) -> str:
    """`, about 4 min left`, from the cells that were played; "" before the first."""
    took = [found.took_s for found in matrix.cells if found.status is not CellStatus.NOT_APPLICABLE]
    if not took:
        return ""
    left_s = sum(took) / len(took) * len(matrix.missing())
    return f", about {left_s / 60:.0f} min left" if left_s >= 90 else f", about {left_s:.0f} s left"
