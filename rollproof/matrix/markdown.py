"""The matrix as Markdown tables, for a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rollproof.matrix.model import Matrix
from rollproof.matrix.words import COST_COLUMNS, cell_words, cost_cells, details, fate_words


def matrix_markdown(matrix: Matrix) -> str:
    """All three tables, one below the other."""
    parts = (table(matrix), failures(matrix), costs(matrix))
    return "\n".join(part for part in parts if part)


def table(matrix: Matrix) -> str:
    """A row a strategy, a column a disruption."""
    rows = [
        [f"`{row.name}`", *(cell_words(matrix, cell) for cell in matrix.all_cells() if cell.strategy == row.name)]
        for row in matrix.rows
    ]
    return markdown_table(["strategy", *(f"`{name}`" for name in matrix.disruptions)], rows)


def failures(matrix: Matrix) -> str:
    """Of each cell in which something failed: the first call and its cause, and what else there is to say."""
    rows = [
        [
            f"`{found.strategy}`",
            f"`{found.disruption}`",
            fate_words(found),
            f"{found.failed_calls}/{found.calls}",
            " ".join(map(_sentence, told)),
        ]
        for found, told in details(matrix)
    ]
    columns = ["strategy", "disruption", "sessions", "failed calls", "first failing call and its cause"]
    return markdown_table(columns, rows, numbers=(3,)) if rows else ""


def costs(matrix: Matrix) -> str:
    rows = [cells for row in matrix.rows if (cells := cost_cells(matrix, row.name)) is not None]
    named = [[f"`{name}`", *rest] for name, *rest in rows]
    return markdown_table(COST_COLUMNS, named, numbers=range(1, 6)) if rows else ""


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """
    >>> print(markdown_table(["a", "n"], [["x|y", "1"]], numbers=[1]), end="")
    | a | n |
    | --- | ---: |
    | x\\|y | 1 |
    """
    right = set(numbers)
    rule = ["---:" if number in right else "---" for number in range(len(titles))]
    return "".join(f"| {' | '.join(map(_escaped, cells))} |\n" for cells in (titles, rule, *rows))


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return text if text.endswith((".", ")", ":")) else f"{text}."
