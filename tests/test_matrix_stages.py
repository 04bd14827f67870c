"""Every strategy through every disruption, on all stages where it was played: the sessions' fate is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollproof.disruptions import Disruption
from rollproof.matrix.model import CellResult, CellStatus, read_matrix
from rollproof.strategies import STRATEGIES

PLAYED = Path(__file__).parents[1] / "docs" / "matrix"
STAGES = {stage: {(x.strategy, x.disruption): x for x in read_matrix(PLAYED / f"{stage}.json").cells}
          for stage in ("local", "sim", "docker")}  # fmt: skip
CELLS = [(name, disruption) for name in STRATEGIES for disruption in Disruption if disruption in
         {cell for _, cell in STAGES["local"]}]  # fmt: skip


def fate(cell: CellResult) -> str:
    """The worst that a session of it met; how many is chance after a crash."""
    if cell.status is not CellStatus.PLAYED:
        return cell.status.value
    return "lost" if cell.lost else "degraded" if cell.degraded else "survived"


@pytest.mark.parametrize(("strategy", "disruption"), CELLS)
def test_its_sessions_meet_the_same_on_every_stage(strategy: str, disruption: Disruption) -> None:
    fates = {
        stage: fate(cells[strategy, disruption]) for stage, cells in STAGES.items() if (strategy, disruption) in cells
    }
    assert {"local", "sim"} <= set(fates)
    assert len(set(fates.values())) == 1, fates
