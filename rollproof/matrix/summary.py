"""A run, summed up as a cell of the matrix. Pure: a verdict and the run's records in, a CellResult out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollproof.matrix.costs import costs_of
from rollproof.matrix.model import ActivityResult, Cell, CellResult, CellStatus, FirstFailure
from rollproof.verdict.model import Outcome, SessionOutcome, Verdict

Record = Mapping[str, Any]


def summarise(
    cell: Cell, verdict: Verdict, records: Iterable[Record], *, run: str = "", took_s: float = 0.0
) -> CellResult:
    """What the matrix keeps of a run."""
    kept = list(records)
    sessions = verdict.sessions
    return CellResult(
        cell.strategy,
        cell.disruption,
        CellStatus.PLAYED,
        reason=verdict.why,
        verdict=verdict.outcome.value,
        is_proof=verdict.outcome is not Outcome.UNKNOWN and all(x.outcome is not Outcome.FAIL for x in verdict.checks),
        survived=len(verdict.of(SessionOutcome.SURVIVED)),
        degraded=len(verdict.of(SessionOutcome.DEGRADED)),
        lost=len(verdict.of(SessionOutcome.LOST)),
        calls=sum(session.calls for session in sessions),
        failed_calls=sum(session.failed_calls for session in sessions),
        first_failure=first_failure(verdict, kept),
        activities=activities(verdict),
        costs=costs_of(kept),
        outage=next((str(x.get("detail", "")) for x in kept if is_mark(x, "redis-back")), ""),
        run=run,
        took_s=round(took_s, 1),
    )


def first_failure(verdict: Verdict, records: Sequence[Record]) -> FirstFailure | None:
    """The earliest of all sessions; None where no call failed."""
    failed = [session for session in verdict.sessions if session.first_failure is not None]
    first = min(failed, key=lambda session: session.first_failure.t if session.first_failure else 0.0, default=None)
    if first is None or first.first_failure is None:
        return None
    call, disrupted_at = first.first_failure, _disrupted_at(records)
    return FirstFailure(
        call.session,
        call.tool,
        call.signature,
        first.cause,
        call_number=call.call_number,
        after_s=None if disrupted_at is None else round(call.t - disrupted_at, 1),
    )


def activities(verdict: Verdict) -> dict[str, ActivityResult]:
    """By name; empty where the clients had none."""
    return {
        each.name: ActivityResult(
            each.state,
            each.tried,
            each.ok,
            each.first_failure.signature if each.first_failure else "",
            each.cause,
        )
        for each in verdict.activities
    }


def is_mark(record: Record, name: str) -> bool:
    return record.get("kind") == "mark" and record.get("name") == name


def _disrupted_at(records: Sequence[Record]) -> float | None:
    done = (x for x in records if x.get("kind") == "fault" or is_mark(x, "deployment-triggered"))
    return next((float(record["t"]) for record in done), None)
