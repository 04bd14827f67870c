"""The rollout in two tables: each step beside its reference, and the cliff beside its prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    """One row an event over the replaced tasks of a wave, or, verbose, one a task and event."""
    table = _table("event", "of", "predicted", "measured")
    waves = dict[tuple[tuple[float | None, float | None], ...], list[Cliff]]()
    for cliff in cliffs:
        waves.setdefault(tuple((e.predicted_min_s, e.predicted_max_s) for e in cliff.events), []).append(cliff)
    groups = [[cliff] for cliff in cliffs] if verbose else list(waves.values())
    for number, group in enumerate(groups, 1):
        of = f"{len(group)} replaced" + (f", wave {number}" if len(groups) > 1 else "")
        for row in _cliff_rows(group):
            table.add_row(row[0], group[0].target_id if verbose else of, *row[1:])
    return table


def _cliff_rows(group: Sequence[Cliff]) -> Iterator[tuple[str, str, str]]:
    """(event, predicted, measured) of tasks with one prediction; what nobody predicted and nobody saw is left out."""
    events = [event for cliff in group for event in cliff.events]
    edges = [edge for cliff in group for edge in cliff.edges]
    has_exited = any(event.name == EXITED and event.measured_s is not None for event in events)
    facts: list[CliffEvent | CliffEdge] = [*events, *edges]
    for name in dict.fromkeys(fact.name for fact in facts):
        fact = next(fact for fact in facts if fact.name == name)
        low, high = fact.predicted_min_s, fact.predicted_max_s
        predicted = "" if low is None or high is None else span((low, high))
        measured = [event.measured_s for event in events if event.name == name and event.measured_s is not None]
        measured += [t for edge in edges if edge.name == name for t in edge.measured_s]
        if measured or predicted:
            yield name, predicted, span(measured) if measured else _absent(name, has_exited)


def _absent(name: str, has_exited: bool) -> str:
    """What it means that nothing was measured. Whether a session or a stream was there to be met, clients decide."""
    if name in (MOVED, CUT):
        return "none seen"
    return "not needed" if name == SIGKILL and has_exited else "not seen"


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
