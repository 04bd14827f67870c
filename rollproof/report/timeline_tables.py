"""The rollout in two tables: each step beside its reference, and the cliff beside its prediction."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rollproof.verdict import Cliff, CliffEvent, Step, StepStatus
from rollproof.verdict.timeline import AWS_SECONDS
from rollproof.verdict.words import span

STATUS_STYLES = {StepStatus.OK: "green", StepStatus.EARLY: "red", StepStatus.LATE: "yellow", StepStatus.MISSING: "red"}


def timeline_table(steps: Sequence[Step]) -> Table:
    """step | after | expected | measured | status. Seconds after the step named; several tasks give a span."""
    table = _table("step", "after", "expected, AWS s", "measured", "")
    for step in steps:
        status = Text(step.status.value, STATUS_STYLES.get(step.status, "dim"))
        table.add_row(step.name, step.after, _expected(step), _measured(step), status)
    return table


def cliff_table(cliffs: Sequence[Cliff], verbose: bool) -> Table:
    """One row an event over all replaced tasks, or, verbose, one a task and event."""
    table = _table("event", "of", "predicted", "measured")
    for group in [(cliff,) for cliff in cliffs] if verbose else [tuple(cliffs)]:
        of = group[0].target_id if verbose else f"{len(group)} replaced"
        for event in group[0].events:
            points = [e.measured_s for cliff in group for e in cliff.events if e.name == event.name]
            measured = [point for point in points if point is not None]
            if measured:
                table.add_row(event.name, of, _predicted(event), span(measured))
    return table


def _expected(step: Step) -> str:
    if step.expected_min_s is None or step.expected_max_s is None:
        return ""
    return span((max(step.expected_min_s, 0.0), step.expected_max_s)) + _unit(step)


def _measured(step: Step) -> str:
    if not step.measured_s:
        return ""
    return span(step.measured_s) + _unit(step)


def _unit(step: Step) -> str:
    """The heading says AWS seconds; a step in the application's own time says so itself."""
    return "" if step.unit == AWS_SECONDS else " real"


def _predicted(event: CliffEvent) -> str:
    if event.predicted_min_s is None or event.predicted_max_s is None:
        return ""
    return span((event.predicted_min_s, event.predicted_max_s))


def _table(*titles: str) -> Table:
    """The third and fourth columns hold numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="right" if number in (2, 3) else "left")
    return table
