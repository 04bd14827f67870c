"""Many pairs of runs in one table, a row a rehearsal: for a terminal, and as Markdown for a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollproof.report.comparison import comparison_json, conclusion
from rollproof.report.terminal import COLOURS, Page
from rollproof.verdict.comparison_model import Comparison, DifferenceKind
from rollproof.verdict.model import Outcome
from rollproof.verdict.words import count

COLUMNS = (
    "rehearsal",
    "verdict A",
    "verdict B",
    "lost A/B",
    "order of events",
    "task states",
    "target states",
    "rollout states",
    "largest offset difference, AWS s",
    "same?",
)
NUMBERS = (3, 8)
STORY_KINDS = (DifferenceKind.EVENTS, DifferenceKind.TASKS, DifferenceKind.TARGETS, DifferenceKind.DEPLOYMENTS)
"""What the four columns after the lost sessions judge, in their order."""


@dataclass(frozen=True)
class Pair:
    """One rehearsal that both sides have."""

    rehearsal: str
    comparison: Comparison


def render_pairs(pairs: Sequence[Pair], unpaired: Sequence[str] = (), *, console: Console) -> None:
    """The table, the differences of each pair that has some, and one line that says how many are the same."""
    out = Page(console)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(COLUMNS):
        table.add_column(title, overflow="fold", no_wrap=not number, justify="right" if number in NUMBERS else "left")
    for pair in pairs:
        *cells, same = _cells(pair)
        table.add_row(*map(Text, cells), Text(same, COLOURS[pair.comparison.outcome]))
    out.line(table)
    for pair in pairs:
        if not pair.comparison.is_same:
            out.section(f"{pair.rehearsal}: {conclusion(pair.comparison)}", *map(Text, _told(pair.comparison)))
    out.line("")
    out.line(Text(pairs_conclusion(pairs, unpaired), COLOURS[pairs_outcome(pairs, unpaired)]))


def pairs_conclusion(pairs: Sequence[Pair], unpaired: Sequence[str] = ()) -> str:
    """`6 of 6 rehearsals told the same story`."""
    same = sum(pair.comparison.is_same for pair in pairs)
    alone = f"; {count(len(unpaired), 'run')} without a partner" if unpaired else ""
    return f"{same} of {count(len(pairs), 'rehearsal')} told the same story{alone}"


def pairs_outcome(pairs: Sequence[Pair], unpaired: Sequence[str] = ()) -> Outcome:
    """The worst of all. A run without a partner proves nothing."""
    found = {pair.comparison.outcome for pair in pairs}
    if Outcome.FAIL in found:
        return Outcome.FAIL
    return Outcome.PASS if found == {Outcome.PASS} and not unpaired else Outcome.UNKNOWN


def pairs_json(pairs: Sequence[Pair], unpaired: Sequence[str] = ()) -> dict[str, Any]:
    """All pairs as comparison_json tells them, and the runs without a partner."""
    outcome = pairs_outcome(pairs, unpaired)
    return {
        "comparison": outcome.value,
        "exit_code": outcome.exit_code,
        "conclusion": pairs_conclusion(pairs, unpaired),
        "unpaired": list(unpaired),
        "pairs": [{"rehearsal": pair.rehearsal, **comparison_json(pair.comparison)} for pair in pairs],
    }


def pairs_markdown(pairs: Sequence[Pair]) -> str:
    """The table alone, for a document."""
    rule = ("---:" if number in NUMBERS else "---" for number in range(len(COLUMNS)))
    rows = [COLUMNS, tuple(rule), *(_cells(pair) for pair in pairs)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _cells(pair: Pair) -> tuple[str, ...]:
    """As many as COLUMNS."""
    found = pair.comparison
    same = "yes" if found.is_same else "unknown" if found.unproved else "no"
    stories = (_story_cell(found, kind) for kind in STORY_KINDS)
    lost = f"{found.a.lost}/{found.b.lost}"
    return (pair.rehearsal, found.a.outcome.value, found.b.outcome.value, lost, *stories, _largest(found), same)


def _story_cell(found: Comparison, kind: DifferenceKind) -> str:
    if found.unproved:
        return "-"
    return "DIFFERENT" if found.of(kind) else "same"


def _largest(found: Comparison) -> str:
    offset = found.largest_offset
    if offset is None:
        return "-"
    return f"{offset.difference_s:.1f}{' APART' if found.of(DifferenceKind.OFFSETS) else ''}"


def _told(found: Comparison) -> Iterator[str]:
    """Its differences, and the settings that may be why."""
    for difference in found.differences:
        points = (f"{t:.1f} s" if t is not None else "-" for t in (difference.t_a, difference.t_b))
        yield "{}: {} (t in A {}, in B {})".format(difference.kind, difference.text, *points)
    if found.settings:
        yield f"settings that differ: {', '.join(setting.name for setting in found.settings)}"
