"""The verdict on a history: did the sessions survive, and was anything proved at all?

FAIL: a session was lost, an activity that worked failed in the rollout, or the rehearsal itself broke a rule of AWS.
UNKNOWN: nothing failed, but nothing was proved either: no session, no task replaced, no call after a replacement, or a
rollout without an end. The worst wins, so a lost session fails a run that is otherwise unknown. Degraded sessions pass
with their number in the first line, unless the setting "verdict.fail_on_degraded" is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rollproof.verdict.activities import broken_by_the_rollout, failures_text, judge_activities
from rollproof.verdict.attribution import with_tasks
from rollproof.verdict.checks import safety_checks
from rollproof.verdict.cliff import cliffs_of
from rollproof.verdict.faults import TAKE_TASKS
from rollproof.verdict.findings import findings_of
from rollproof.verdict.findings.story import Story
from rollproof.verdict.knobs import behaviours, what_ifs
from rollproof.verdict.model import ActivityVerdict, Check, Outcome, Replay, SessionOutcome, SessionVerdict, Verdict
from rollproof.verdict.moment import around_first_break
from rollproof.verdict.records import History, as_flag, read
from rollproof.verdict.rollout import Disruption, Rollout, read_rollout
from rollproof.verdict.sessions import judge_sessions
from rollproof.verdict.summary import summarise
from rollproof.verdict.timeline import compare
from rollproof.verdict.words import at, count, some

Reason = tuple[Outcome, str]


@dataclass(frozen=True)
class Judged:
    """What an outcome is drawn from."""

    sessions: Sequence[SessionVerdict]
    activities: Sequence[ActivityVerdict]
    checks: Sequence[Check]


RANK = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS)


def judge(records: Iterable[Any]) -> Verdict:
    """Pure and total: any records, torn or foreign, give a verdict and never an exception."""
    history = with_tasks(read(records))
    rollout = read_rollout(history)
    sessions = judge_sessions(history, rollout)
    activities = judge_activities(history, rollout)
    checks = safety_checks(history, rollout)
    cliffs = cliffs_of(history, rollout, sessions)
    judged = Judged(sessions, activities, checks)
    reasons = sorted(_reasons(history, rollout, judged), key=lambda reason: RANK.index(reason[0]))
    lost = any(session.outcome is SessionOutcome.LOST for session in sessions)
    return Verdict(
        outcome=reasons[0][0],
        why=reasons[0][1],
        reasons=tuple(text for _, text in reasons),
        sessions=sessions,
        activities=activities,
        findings=findings_of(Story(history, rollout, sessions, cliffs, activities)),
        checks=checks,
        steps=compare(history, rollout),
        cliffs=cliffs,
        around_break=around_first_break(history, rollout, sessions),
        what_ifs=what_ifs(history),
        behaviours=behaviours(history),
        replay=Replay(history.settings.get("seed"), str(history.settings.get("command") or "")),
        summary=summarise(history.calls, is_complete=bool(sessions) and not lost),
        settings=dict(history.settings),
        disruption=rollout.disruption.value,
        replaced_tasks=tuple(life.task_id for life in rollout.replaced),
        speed=history.speed,
        unusable_records=history.unusable,
    )


def _reasons(history: History, rollout: Rollout, judged: Judged) -> Iterator[Reason]:
    """All that counts; never empty."""
    bad = [*_failures(history, judged)]
    gaps = [(Outcome.UNKNOWN, text) for text in _gaps(history, rollout, judged.sessions)]
    yield from bad
    yield from gaps
    if not bad and not gaps:
        yield Outcome.PASS, _praise(history, rollout, judged.sessions)


def _failures(history: History, judged: Judged) -> Iterator[Reason]:
    sessions = judged.sessions
    lost = [session for session in sessions if session.outcome is SessionOutcome.LOST]
    degraded = [session for session in sessions if session.outcome is SessionOutcome.DEGRADED]
    if lost:
        first = min(lost, key=lambda s: s.first_failure.t if s.first_failure else 0.0)
        yield (
            Outcome.FAIL,
            f"{len(lost)} of {count(len(sessions), 'session')} lost; first {first.session}: {first.cause}",
        )
    if broken := broken_by_the_rollout(judged.activities):
        yield Outcome.FAIL, f"activities that work failed in the rollout: {failures_text(broken)}"
    for check in judged.checks:
        if check.outcome is Outcome.FAIL:
            yield Outcome.FAIL, f"the rehearsal broke a rule of AWS: {check.text}"
    if degraded and as_flag(history.settings.get("verdict.fail_on_degraded")):
        yield Outcome.FAIL, f"{count(len(degraded), 'session')} degraded, and verdict.fail_on_degraded is on"


def _gaps(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> Iterator[str]:
    """Why nothing was proved; nothing where something was."""
    if not sessions:
        yield "no session called: there was nothing to lose"
    yield from _unplayed(history)
    if rollout.triggered_at is None:
        yield "the history shows no deployment and no fault: nothing was done to the service"
        return
    if rollout.disruption is Disruption.ROLLBACK:
        yield from _rollback_gaps(rollout, sessions)
        return
    if rollout.disruption is Disruption.OUTAGE:
        yield from _outage_gaps(history, rollout, sessions)
        return
    if not rollout.replaced and _needs_no_replacement(rollout):
        yield from _fault_gaps(rollout, sessions)
    elif not rollout.replaced:
        yield _nothing_replaced(rollout)
    elif sessions and not any(session.crossed for session in sessions):
        yield (
            f"no call crossed: of {count(len(rollout.replaced), 'replaced task')} none had served a session that called"
            " again after its target stopped being chosen"
        )
    if rollout.ended_at is None:
        yield f"the rollout had not ended when the history ends, at {at(history.ended_at)}"


def _unplayed(history: History) -> Iterator[str]:
    """Faults that were asked for, and whose moment did not come."""
    for mark in history.marks:
        if mark.text == "fault-not-played":
            yield f"a fault was not played, for its moment did not come: {mark.detail}"


def _needs_no_replacement(rollout: Rollout) -> bool:
    """Only faults were played, and all of them may leave the tasks where they are."""
    names = {fault.text for fault in rollout.faults}
    return rollout.disruption is Disruption.FAULT and bool(names) and not names & TAKE_TASKS


def _fault_gaps(rollout: Rollout, sessions: Sequence[SessionVerdict]) -> Iterator[str]:
    """Faults that take no task prove something when a session called before them and after the last one's end."""
    began_at = min(fault.t for fault in rollout.faults)
    over_at = max(fault.t if fault.ended_at is None else fault.ended_at for fault in rollout.faults)
    if not any(s.first_call_at <= began_at and s.last_call_at >= over_at for s in sessions):
        yield "no session called both before the faults and after them"


def _nothing_replaced(rollout: Rollout) -> str:
    if rollout.failed_at is not None:
        names = ", ".join(dict.fromkeys(fault.text for fault in rollout.faults))
        meanwhile = f" (faults meanwhile: {names})" if names else ""
        return (
            f"no task was replaced: the deployment failed{meanwhile} and the old tasks stayed. No session was tried by"
            " a replacement"
        )
    return f"no task was replaced after the {rollout.disruption.value} at {at(rollout.triggered_at or 0.0)}"


def _rollback_gaps(rollout: Rollout, sessions: Sequence[SessionVerdict]) -> Iterator[str]:
    """A deployment that was made to fail proves something when it did fail, ended, and calls went on meanwhile."""
    failed_at = rollout.failed_at
    if failed_at is None:
        yield "the deployment was to fail and be rolled back, and did not fail"
    elif rollout.rolled_back_at is None:
        yield "the deployment failed, and its rollback had not ended when the history ends"
    elif not any(s.first_call_at <= (rollout.triggered_at or 0.0) and s.last_call_at >= failed_at for s in sessions):
        yield "no session called both before the deployment and after it had failed"


def _outage_gaps(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> Iterator[str]:
    """An outage proves something when it ended, and a session called on both sides of it."""
    began_at, back_at = rollout.triggered_at or 0.0, history.mark_at("redis-back")
    if back_at is None:
        yield "Redis was not seen to come back"
    elif not any(s.first_call_at <= began_at and s.last_call_at >= back_at for s in sessions):
        yield "no session called both before Redis restarted and after it"


def _praise(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> str:
    survived = [session for session in sessions if session.outcome is SessionOutcome.SURVIVED]
    failed = sum(session.failed_calls for session in sessions)
    worst = max((session.failing_for_s for session in sessions), default=0.0)
    what = _done(history, rollout)
    calls = sum(session.calls for session in sessions)
    fate = f"{len(survived)} of {count(len(sessions), 'session')} survived"
    if history.settings.get("probe.plan") == "ping":
        fate += " (their state unchecked: the server has no tools that write and read it)"
    if not failed:
        return f"{what}: {fate}, 0 of {count(calls, 'call')} failed"
    degraded = [session.session for session in sessions if session.outcome is SessionOutcome.DEGRADED]
    return (
        f"{what}: {fate}, {len(degraded)} degraded ({some(degraded)}): {failed} of {count(calls, 'call')} failed,"
        f" at most {worst:.1f} s a session"
    )


def _done(history: History, rollout: Rollout) -> str:
    """What became of the service."""
    if rollout.disruption is Disruption.ROLLBACK:
        return "rolled back"
    if rollout.disruption is Disruption.OUTAGE:
        return "Redis restarted"
    what = "removed" if history.settings.get("disruption_name") == "scale-in" else "replaced"
    done = f"{count(len(rollout.replaced), 'task')} {what}"
    names = dict.fromkeys(fault.text for fault in rollout.faults)
    return f"{', '.join(names)} and {done}" if names else done
