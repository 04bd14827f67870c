"""docs/faults.md tells of every fault, with the stages that can play it, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

from rollproof.sim.faults.catalogue import FAULTS

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"
ROW = re.compile(r"^\| `([a-z-]+)` \|.*\| ([a-z, ]+) \|$", re.MULTILINE)


def test_the_page_has_the_faults_of_the_catalogue_in_its_order_with_their_stages() -> None:
    rows = ROW.findall(PAGE.read_text())
    told = {name: {stage.strip() for stage in stages.split(",")} for name, stages in rows}
    assert told == {name: set(fault.stages) for name, fault in FAULTS.items()}
    assert [name for name, _ in rows] == list(FAULTS)
