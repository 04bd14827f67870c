"""The rollout in two tables: each step beside its reference, and the cliff beside its prediction."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rollproof.verdict import Cliff, CliffEvent, Step, StepStatus
from rollproof.verdict.cliff import CUT, MOVED
from rollproof.verdict.model import CliffEdge
from rollproof.verdict.steps import AWS_SECONDS, EXITED, SIGKILL
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
        events = [event for cliff in group for event in cliff.events]
        edges = [edge for cliff in group for edge in cliff.edges]
        has_exited = any(event.name == EXITED and event.measured_s is not None for event in events)
        facts: list[CliffEvent | CliffEdge] = [*events, *edges]
        for name in dict.fromkeys(fact.name for fact in facts):
            predicted = [(fact.predicted_min_s, fact.predicted_max_s) for fact in facts if fact.name == name]
            measured = [e.measured_s for e in events if e.name == name and e.measured_s is not None]
            measured += [t for edge in edges if edge.name == name for t in edge.measured_s]
            told = _span_of(predicted)
            if measured or told:
                table.add_row(name, of, told, span(measured) if measured else _absent(name, has_exited))
    return table


def _absent(name: str, has_exited: bool) -> str:
    """What it means that nothing was measured. Whether a session or a stream was there to be met, clients decide."""
    if name in (MOVED, CUT):
        return "none seen"
    return "not needed" if name == SIGKILL and has_exited else "not seen"


def _span_of(predicted: Sequence[tuple[float | None, float | None]]) -> str:
    """From the earliest of all tasks to the latest: tasks of different waves have ranges of their own."""
    lows, highs = [low for low, _ in predicted if low is not None], [high for _, high in predicted if high is not None]
    return span((min(lows), max(highs))) if lows and highs else ""


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


def _table(*titles: str) -> Table:
    """The third and fourth columns hold numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="right" if number in (2, 3) else "left")
    return table
