"""What became of each activity: does it work with this server at all, and did the rollout break it?

An activity (elicitation, a stream, resumption, ...) is judged by kind and era, apart from the sessions: it may fail in
all of them while every session survives. One that was ok at least once works; its failures from the disruption on are
the rollout's, and fail the rehearsal. One that never was ok does not work with this server, whatever is replaced, or
is not offered by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rollproof.verdict.causes import cause_of, served_by, transitions
from rollproof.verdict.model import ActivityState, ActivityVerdict, FailedCall
from rollproof.verdict.records import Call, History
from rollproof.verdict.rollout import Rollout
from rollproof.verdict.sessions import signature_of
from rollproof.verdict.words import count, short

OK, UNSUPPORTED, FAILED = "ok", "unsupported", "failed"
"""Outcomes that a probe writes (rollproof.probe.activity); every other one is a failure with a name."""


def judge_activities(history: History, rollout: Rollout) -> tuple[ActivityVerdict, ...]:
    """One a kind and era that was tried, in the order in which they were asked for; one more for each kind that
    never was."""
    found: dict[tuple[str, str], list[Call]] = {}
    for call in history.activities:
        found.setdefault((call.activity, call.era), []).append(call)
    asked = history.settings.get("probe.activities")
    kinds = list(dict.fromkeys([*(map(str, asked) if isinstance(asked, list) else ()), *(kind for kind, _ in found)]))
    verdicts = []
    for kind in kinds:
        tried = [_judge(kind, era, found[kind, era], history, rollout) for of, era in sorted(found) if of == kind]
        verdicts += tried or [ActivityVerdict(kind, "", ActivityState.NOT_TRIED)]
    if len({verdict.era for verdict in verdicts if verdict.era}) < 2:
        return tuple(verdicts)
    return tuple(replace(v, name=f"{v.activity} ({v.era})") if v.era else v for v in verdicts)


def outcomes_of(verdict: ActivityVerdict) -> str:
    """`2 hang, 1 reply-refused`."""
    return ", ".join(f"{number} {outcome}" for outcome, number in verdict.outcomes.items())


def broken_by_the_rollout(activities: Sequence[ActivityVerdict]) -> list[ActivityVerdict]:
    return [each for each in activities if each.state is ActivityState.FAILED]


def failures_text(broken: Sequence[ActivityVerdict]) -> str:
    """`elicitation 3 of 12 times, stream 1 of 9 (2 more before it); first s03: target ... failed with ...`."""
    counts = [f"{each.name} {each.failed_in_rollout} of {count(each.tried, 'time')}{_before(each)}" for each in broken]
    failures = [(each.first_failure, each.cause) for each in broken if each.first_failure is not None]
    first = min(failures, key=lambda failure: failure[0].t, default=None)
    return ", ".join(counts) + (f"; first {first[0].session}: {first[1]}" if first else "")


def _before(verdict: ActivityVerdict) -> str:
    """What failed as well before anything was replaced is not the rollout's alone."""
    before = sum(verdict.outcomes.values()) - verdict.failed_in_rollout
    return f" ({before} more before it)" if before else ""


def _judge(kind: str, era: str, calls: Sequence[Call], history: History, rollout: Rollout) -> ActivityVerdict:
    outcomes = Counter(call.activity_outcome for call in calls)
    failures = [call for call in calls if call.activity_outcome not in (OK, UNSUPPORTED)]
    start = rollout.triggered_at
    during = [call for call in failures if start is not None and call.t >= start]
    first = next(iter(during or failures), None)
    signature = _signature(first) if first else ""
    task = served_by(history, first.session, first.started_at) if first else ""
    return ActivityVerdict(
        kind,
        era,
        _state(outcomes, len(failures), len(during)),
        tried=len(calls),
        ok=outcomes.pop(OK, 0),
        unsupported=outcomes.pop(UNSUPPORTED, 0),
        outcomes=dict(outcomes.most_common()),
        failed_in_rollout=len(during),
        first_failure=FailedCall(first.t, first.session, first.number, first.tool, signature, task) if first else None,
        cause=_cause(first, signature, task, rollout) if first else "",
    )


def _cause(call: Call, signature: str, task: str, rollout: Rollout) -> str:
    """Only what the disruption brought can be a cause; a call that may go to any task often needs none."""
    life = rollout.life(task)
    start = rollout.triggered_at or 0.0
    if life is not None and not any(start <= change.t <= call.t for change in transitions(life)):
        return f"call {call.number} {call.tool} failed with {signature}; its task, {short(task)}, was not leaving"
    return cause_of(call, signature, task, rollout)


def _state(outcomes: Counter[str], failures: int, during: int) -> ActivityState:
    if outcomes[OK]:
        if during:
            return ActivityState.FAILED
        return ActivityState.UNSTEADY if failures else ActivityState.OK
    # Where the server said once that it does not offer it, what failed besides is the session's own loss.
    return ActivityState.UNSUPPORTED if outcomes[UNSUPPORTED] else ActivityState.DOES_NOT_WORK


def _signature(call: Call) -> str:
    """With the outcome, where that says more than that it failed."""
    signature = signature_of(call)
    return signature if call.activity_outcome in (FAILED, signature) else f"{call.activity_outcome}: {signature}"
