"""Strategies x disruptions: a rehearsal a cell, in one table, with what each strategy costs.

model.py        the matrix and its JSON          play.py       the cells, one after another; what is missing
summary.py      a run -> its cell                terminal.py   the table for a terminal
costs.py        a history -> what calls cost     markdown.py   the tables for a document
                                                 page.py       docs/strategies.md
"""

from rollproof.matrix.model import MATRIX_FILE, Asked, Cell, CellResult, CellStatus, Costs, Fate, Matrix, Row
from rollproof.matrix.play import load_matrix, plan_matrix, play_matrix, with_result

__all__ = [
    "MATRIX_FILE",
    "Asked",
    "Cell",
    "CellResult",
    "CellStatus",
    "Costs",
    "Fate",
    "Matrix",
    "Row",
    "load_matrix",
    "plan_matrix",
    "play_matrix",
    "with_result",
]
