"""The matrix on a terminal: the table, what broke first in each cell, what calls cost, one line that concludes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollproof.matrix.model import Fate, Matrix
from rollproof.matrix.words import (
    COST_COLUMNS,
    cell_words,
    conclusion,
    cost_cells,
    details,
    fate_words,
    stage_words,
)
from rollproof.report.terminal import Page
from rollproof.verdict.words import count

COLOURS = {
    Fate.SURVIVED: "green",
    Fate.DEGRADED: "yellow",
    Fate.LOST: "red",
    Fate.UNPROVED: "bold yellow",
    Fate.NOT_APPLICABLE: "dim",
}
CONCLUSIONS = {0: "bold green", 1: "bold red", 3: "bold yellow"}


def render_matrix(matrix: Matrix, *, console: Console, where: str = "") -> None:
    """`where` is its directory, for the advice at the end. Colour only where the console is a terminal."""
    out = Page(console)
    out.line(Text(stage_words(matrix.asked), style="dim"))
    out.line(_table(matrix))
    for found, told in details(matrix):
        failed = f"; {found.failed_calls} of {count(found.calls, 'call')} failed" if found.failed_calls else ""
        out.section(f"{found.strategy} {found.disruption}: {fate_words(found)}{failed}", *map(Text, told))
    costs = [cells for row in matrix.rows if (cells := cost_cells(matrix, row.name)) is not None]
    if costs:
        out.section("What a call costs, before anything is done to the service", _costs(costs))
    out.line("")
    out.line(Text(conclusion(matrix), CONCLUSIONS[matrix.exit_code]))
    if where and matrix.missing():
        out.line(Text.assemble(("next: ", "bold"), f"rollproof matrix --resume {where}"))


def _table(matrix: Matrix) -> Table:
    table = _plain(("strategy", *matrix.disruptions))
    by_name: dict[str, list[Text]] = {row.name: [] for row in matrix.rows}
    for cell in matrix.all_cells():
        found = matrix.result(cell)
        style = COLOURS[found.fate] if found else "dim"
        if found and found in matrix.surprises():
            style = f"bold reverse {style}"
        by_name[cell.strategy].append(Text(cell_words(matrix, cell), style))
    for name, cells in by_name.items():
        table.add_row(Text(name), *cells)
    return table


def _costs(rows: list[tuple[str, ...]]) -> Table:
    table = _plain(COST_COLUMNS, numbers=range(1, 6))
    for cells in rows:
        table.add_row(*map(Text, cells))
    return table


def _plain(titles: tuple[str, ...], numbers: range = range(0)) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        justify = "right" if number in numbers else "left"
        table.add_column(title, no_wrap=not number, overflow="fold", justify=justify)  # type: ignore[arg-type]
    return table
