"""What a failing test prints of its rollouts: what broke first, the split pair, and how to have it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from _pytest._code.code import ExceptionRepr  # not public; where it is gone, `sections` below do

from rollproof.testing.rollouts.result import RolloutResult, SessionCount, line_text
from rollproof.verdict.model import Outcome, SessionOutcome, Verdict
from rollproof.verdict.words import count

SESSIONS_SHOWN = 4


def compared(op: str, left: object, right: object) -> list[str] | None:
    """An assertion about a number of sessions, and the first sentence of the verdict: pytest cuts off long ones."""
    counts = [side for side in (left, right) if isinstance(side, SessionCount)]
    if not counts:
        return None
    sides = [
        f"{count(side, 'session')} {side.fate.value}" if isinstance(side, SessionCount) else repr(side)
        for side in (left, right)
    ]
    return [f"{sides[0]} {op} {sides[1]}", counts[0].rollout.verdict.why]


def add_stories(report: pytest.TestReport, results: Sequence[RolloutResult]) -> None:
    """Below the traceback of a test that failed; its output may be captured, this is not hidden with that."""
    untold = [result for result in results if not result.is_told]
    for result in [result for result in untold if not _is_plain_sailing(result)] or untold[-1:]:
        result.is_told = True
        text, title = tell(result), f"rollout: {_fates(result.verdict)}"
        if isinstance(report.longrepr, ExceptionRepr):
            report.longrepr.addsection(title, text)
        else:
            report.sections.append((title, text))


def tell(result: RolloutResult) -> str:
    """The whole story, as plain text."""
    return "\n".join(_lines(result))


def _is_plain_sailing(result: RolloutResult) -> bool:
    return result.outcome is Outcome.PASS and not result.sessions_degraded


def _fates(verdict: Verdict) -> str:
    return ", ".join(f"{len(verdict.of(outcome))} {outcome.value}" for outcome in SessionOutcome)


def _lines(result: RolloutResult) -> Iterator[str]:
    verdict = result.verdict
    yield f"{verdict.outcome.value.upper()}  {_fates(verdict)}; {_what_was_done(verdict)}"
    yield verdict.why
    yield from (f"also: {reason}" for reason in verdict.reasons[1:])
    if verdict.around_break:
        yield from ("", "What broke first (seconds of the stage's clock)")
        yield from (line_text(line) for line in verdict.around_break)
    for finding in verdict.findings:
        if finding.id == "atomic-failure":
            yield from ("", finding.title, f"  {finding.text}")
    yield from _others(verdict)
    yield from ("", f"Again, with the same seed ({verdict.replay.seed})")
    yield f"  {result.commands.again}"
    if result.commands.rehearse:
        yield f"  {result.commands.rehearse}"
    yield "or as a test of its own:"
    yield from (f"    {line}" for line in result.test.splitlines())
    yield from ("", f"The whole report: {result.commands.report}")


def _what_was_done(verdict: Verdict) -> str:
    stage = verdict.settings.get("stage")
    name = verdict.settings.get("disruption_name") or verdict.disruption
    return f"{count(len(verdict.replaced_tasks), 'task')} replaced ({name}, on the {stage} stage)"


def _others(verdict: Verdict) -> Iterator[str]:
    """The sessions that the first sentence does not speak of."""
    hurt = [*verdict.of(SessionOutcome.LOST), *verdict.of(SessionOutcome.DEGRADED)]
    hurt.sort(key=lambda session: session.first_failure.t if session.first_failure else 0.0)
    if not hurt:
        return
    yield from ("", "Sessions")
    for session in hurt[:SESSIONS_SHOWN]:
        yield f"  {session.outcome.value} {session.session}: {session.cause}"
    if len(hurt) > SESSIONS_SHOWN:
        yield f"  ... and {len(hurt) - SESSIONS_SHOWN} more"
