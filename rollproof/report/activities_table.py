"""One row a kind of activity: how often it was tried, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rollproof.verdict import ActivityState, ActivityVerdict
from rollproof.verdict.activities import outcomes_of
from rollproof.verdict.words import at

STYLES = {
    ActivityState.OK: "green",
    ActivityState.FAILED: "red",
    ActivityState.UNSTEADY: "yellow",
    ActivityState.DOES_NOT_WORK: "yellow",
}


def activities_table(activities: Sequence[ActivityVerdict]) -> Table:
    """activity | era, where both were there | ok | of | what came of it."""
    has_eras = len({each.era for each in activities if each.era}) > 1
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("activity", *(("era",) if has_eras else ())):
        table.add_column(title, no_wrap=True)
    for title in ("ok", "of"):
        table.add_column(title, no_wrap=True, justify="right")
    table.add_column("", overflow="fold")
    for each in activities:
        era = (each.era,) if has_eras else ()
        table.add_row(
            each.activity, *era, str(each.ok), str(each.tried), Text(_told(each), STYLES.get(each.state, "dim"))
        )
    return table


def _told(activity: ActivityVerdict) -> str:
    """`failed in the rollout: 2 hang, 1 missing; first s03 at t=41.2 s: 404/-32600 Session not found`"""
    first = activity.first_failure
    if activity.state is ActivityState.NOT_TRIED:
        return "not tried: the server has no tool for it, or no session came to it"
    if first is None or activity.state is ActivityState.UNSUPPORTED:
        return activity.state.value
    return f"{activity.state}: {outcomes_of(activity)}; first {first.session} at {at(first.t)}: {first.signature}"
