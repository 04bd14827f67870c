"""The rollout in two tables: each step beside its reference, and the cliff beside its prediction."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rollproof.verdict import Cliff, CliffEvent, Step, StepStatus
from rollproof.verdict.words import span

STATUS_STYLES = {StepStatus.OK: "green", StepStatus.EARLY: "red", StepStatus.LATE: "yellow", StepStatus.MISSING: "red"}


def timeline_table(steps: Sequence[Step]) -> Table:
    """step | after | expected | measured | status. Seconds after the step named; several tasks give a range."""
    table = _table("step", "after", "expected", "measured", "")
    for step in steps:
        table.add_row(
            step.name,
            step.after,
            Text(_expected(step), justify="right"),
            Text(_measured(step), justify="right"),
            Text(step.status.value, STATUS_STYLES.get(step.status, "dim")),
        )
    return table


def cliff_table(cliffs: Sequence[Cliff], verbose: bool) -> Table:
    """One row an event over all replaced tasks, or, verbose, one a task and event."""
    table = _table("event", "predicted", "measured", "replaced tasks" if not verbose else "target")
    groups = [(cliff,) for cliff in cliffs] if verbose else [tuple(cliffs)]
    for group in groups:
        for event in group[0].events:
            points = [e.measured_s for cliff in group for e in cliff.events if e.name == event.name]
            measured = [point for point in points if point is not None]
            if measured:
                who = group[0].target_id if verbose else str(len(measured))
                table.add_row(event.name, _predicted(event), Text(span(measured), justify="right"), who)
    return table


def _expected(step: Step) -> str:
    if step.expected_min_s is None or step.expected_max_s is None:
        return ""
    return f"{span((max(step.expected_min_s, 0.0), step.expected_max_s))} {step.unit}"


def _measured(step: Step) -> str:
    if not step.measured_s:
        return ""
    return f"{span(step.measured_s)} {step.unit}"


def _predicted(event: CliffEvent) -> Text:
    if event.predicted_min_s is None or event.predicted_max_s is None:
        return Text("")
    return Text(span((event.predicted_min_s, event.predicted_max_s)), justify="right")


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
