"""What a matrix says, for whatever prints it: cells, costs, failures, the conclusion."""

from __future__ import annotations

from collections.abc import Iterator

from rollproof.core.platforms import FARGATE
from rollproof.disruptions import Disruption
from rollproof.matrix.model import Asked, Cell, CellResult, CellStatus, Costs, Fate, Matrix
from rollproof.verdict.words import count, some

NOT_PLAYED = "not played"
COST_COLUMNS = (
    "strategy", "calls", "median ms", "p95 ms", "Redis commands a call", "CPU ms a call", "what never works",
)  # fmt: skip


def cell_words(matrix: Matrix, cell: Cell) -> str:
    """`lost 10/10`, `survived 10/10, breaks resume`, `not applicable`."""
    found = matrix.result(cell)
    if found is None:
        return NOT_PLAYED
    words = fate_words(found)
    if found in matrix.surprises():
        words += f" (expected: {expected_of(matrix, cell.strategy)})"
    return f"{words}, breaks {', '.join(found.broken)}" if found.broken else words


def fate_words(found: CellResult) -> str:
    """How many sessions shared the worst fate."""
    number = {Fate.LOST: found.lost, Fate.DEGRADED: found.degraded, Fate.SURVIVED: found.survived}.get(found.fate)
    if number is not None:
        return f"{found.fate} {number}/{found.sessions}"
    return "could not be played" if found.status is CellStatus.FAILED else found.fate.value


def expected_of(matrix: Matrix, strategy: str) -> str:
    return next(row.expected for row in matrix.rows if row.name == strategy)


def details(matrix: Matrix) -> Iterator[tuple[CellResult, list[str]]]:
    """Each cell of which there is more to say, and what: the first failing call, what else broke, the outage."""
    for cell in matrix.all_cells():
        found = matrix.result(cell)
        if found is not None and found.status is not CellStatus.NOT_APPLICABLE and (told := _told(found)):
            yield found, told


def _told(found: CellResult) -> list[str]:
    told = [found.reason] if found.fate is Fate.UNPROVED else []
    told += [words] if (words := first_failure_words(found)) else []
    told += _broken(found)
    return [*told, f"Redis was {found.outage}"] if found.outage else told


def _broken(found: CellResult) -> Iterator[str]:
    """`elicitation 5/8, roots 6/9 well; target ... failed with 404/-32600 Session not found`: a line a way to fail."""
    ways: dict[str, list[str]] = {}
    for kind, activity in found.broken.items():
        ways.setdefault(activity.signature, []).append(kind)
    for signature, kinds in ways.items():
        counts = ", ".join(f"{kind} {found.broken[kind].ok}/{found.broken[kind].tried}" for kind in kinds)
        yield f"{counts} well; {_failed(signature, found.broken[kinds[0]].cause)}"


def first_failure_words(found: CellResult) -> str:
    """`s3 increment, 3.1 s after it: target ... began draining at ...`: signature and cause; "" if no call failed."""
    first = found.first_failure
    if first is None:
        return ""
    when = "" if first.after_s is None else f", {when_words(first.after_s)}"
    return f"{first.session} {first.tool}{when}: {_failed(first.signature, first.cause)}"


def _failed(signature: str, cause: str) -> str:
    """Most causes name the signature themselves."""
    return cause if signature in cause else f"{signature}. {cause}" if cause else signature


def when_words(after_s: float) -> str:
    return f"{after_s:.1f} s after it" if after_s >= 0 else f"{-after_s:.1f} s before it"


def cost_cells(matrix: Matrix, strategy: str) -> tuple[str, ...] | None:
    """As many as COST_COLUMNS; None where this strategy was not measured."""
    costs = matrix.costs_of(strategy)
    if costs is None:
        return None
    return (strategy, *_numbers(costs), ", ".join(matrix.stops_working(strategy)) or "-")


def _numbers(costs: Costs) -> tuple[str, ...]:
    redis = "-" if costs.redis_commands is None else f"{costs.redis_commands:.1f}"
    cpu = "-" if costs.cpu_ms is None else f"{costs.cpu_ms:.1f}"
    return f"{costs.calls}", f"{costs.latency_median_ms:.1f}", f"{costs.latency_p95_ms:.1f}", redis, cpu


def stage_words(asked: Asked) -> str:
    """`local, 10 sessions, speed 20, deregistration_delay_s=60`."""
    balancer = f" behind {asked.balancer}" if asked.balancer else ""
    platform = f", platform {asked.platform}" if asked.platform != FARGATE else ""
    settings = "".join(f", {setting}" for setting in asked.settings)
    return f"{asked.stage}{balancer}{platform}, {count(asked.sessions, 'session')}, speed {asked.speed:g}{settings}"


def conclusion(matrix: Matrix) -> str:
    """The one line that goes with the exit code."""
    surprises, unproved = matrix.surprises(), matrix.unproved()
    told = []
    if surprises:
        names = ", ".join(f"{x.strategy} {x.fate} and not {expected_of(matrix, x.strategy)}" for x in surprises)
        told.append(f"not as expected of a rolling deployment: {names}")
    if unproved:
        names = some([f"{cell.strategy} {cell.disruption}" for cell in unproved])
        told.append(f"nothing proved by {count(len(unproved), 'cell')}: {names}")
    if told:
        return "; ".join(told)
    rolling = sum(x.disruption is Disruption.ROLLING for x in matrix.cells)
    return f"{count(len(matrix.cells), 'cell')}; {count(rolling, 'rolling deployment')}, all as expected"
