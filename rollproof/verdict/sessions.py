"""Each session's fate: survived, degraded or lost, with the first failing call and what it followed.

A session is *lost* when no later call was answered, when its state came back incomplete or changed twice, or
when it had to be initialised again and its state was gone. It is *degraded* when calls failed and it went on
by itself with its state. State that is wrong once is never called recovered: the client has already acted on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rollproof.verdict.causes import cause_of, reason_to_move, served_by
from rollproof.verdict.model import FailedCall, Move, SessionOutcome, SessionVerdict
from rollproof.verdict.records import Call, History
from rollproof.verdict.rollout import Rollout
from rollproof.verdict.state import Defect, DefectKind, defects_of
from rollproof.verdict.summary import summarise


def judge_sessions(history: History, rollout: Rollout) -> tuple[SessionVerdict, ...]:
    """One verdict a session that called, in order of first sight."""
    return tuple(_judge(name, calls, history, rollout) for name, calls in history.by_session.items())


def signature_of(call: Call) -> str:
    """How a failure looks: `404 / -32600 Session not found`. The probe's own signature wins."""
    if call.signature:
        return call.signature
    parts = [] if call.http_status is None else [str(call.http_status)]
    if call.rpc_code is not None:
        parts.append(f"{call.rpc_code} {call.rpc_message}".strip())
    elif call.error:
        parts.append(call.error)
    return " / ".join(parts) or "no answer"


def failing_for(calls: Sequence[Call]) -> float:
    """Seconds in which the session's calls failed: each outage from its first failed call to the next answer."""
    total, since = 0.0, None
    for call in calls:
        if not call.ok and since is None:
            since = call.started_at
        elif call.ok and since is not None:
            total, since = total + max(call.t - since, 0.0), None
    return total if since is None else total + calls[-1].t - since


def _judge(name: str, calls: Sequence[Call], history: History, rollout: Rollout) -> SessionVerdict:
    defects = defects_of(calls)
    forgotten = _forgotten(calls)
    failed = [call for call in calls if not call.ok]
    outcome = _outcome(calls, failed, bool(defects), forgotten is not None)
    first, signature = _first_failure(failed, defects)
    if first is None and forgotten is not None:
        first, signature = forgotten, "its state gone after a re-initialisation"
    task = served_by(history, name, first.started_at) if first else ""
    return SessionVerdict(
        session=name,
        outcome=outcome,
        calls=len(calls),
        failed_calls=len(failed),
        failing_for_s=failing_for(calls),
        first_failure=_failed_call(first, signature, task) if first else None,
        cause=_cause(first, signature, task, defects, rollout) if first else "",
        first_call_at=calls[0].started_at,
        last_call_at=calls[-1].started_at,
        crossed=has_crossed(calls, rollout),
        moves=tuple(moves_of(calls, rollout)),
        state_defects=tuple(defect.signature for defect in defects),
        era=calls[0].era,
        summary=summarise(calls, is_complete=outcome is not SessionOutcome.LOST),
    )


def _failed_call(call: Call, signature: str, task: str) -> FailedCall:
    """`task_id` is the task that had served the session: the one whose transition is looked for."""
    return FailedCall(call.t, call.session, call.number, call.tool, signature, task or call.task_id)


def _outcome(calls: Sequence[Call], failed: Sequence[Call], is_defective: bool, is_forgotten: bool) -> SessionOutcome:
    if is_defective or is_forgotten or not calls[-1].ok:
        return SessionOutcome.LOST
    return SessionOutcome.DEGRADED if failed else SessionOutcome.SURVIVED


def _first_failure(failed: Sequence[Call], defects: Sequence[Defect]) -> tuple[Call | None, str]:
    """The earliest of failed calls and defective reads; a call that is both shows its defect."""
    ways = [(defect.call.t, 0, defect.call, defect.signature) for defect in defects]
    ways += [(call.t, 1, call, signature_of(call)) for call in failed]
    first = min(ways, key=lambda way: way[:2], default=None)
    return (None, "") if first is None else (first[2], first[3])


def _cause(first: Call, signature: str, task: str, defects: Sequence[Defect], rollout: Rollout) -> str:
    if any(defect.call is first and defect.kind is DefectKind.TWICE for defect in defects):
        return f"call {first.number} {first.tool} read a state that no acknowledged call explains: {signature}"
    return cause_of(first, signature, task, rollout)


def _forgotten(calls: Sequence[Call]) -> Call | None:
    """The first read after a re-initialisation that shows fewer entries than the session had before it."""
    before, renewed = 0, False
    for call in calls:
        renewed = renewed or call.new_session
        if call.state_size is None or not call.ok or call.replay:
            continue  # a state that is being built again is not yet what it was
        if renewed and call.state_size < before:
            return call
        before = max(before, call.state_size)
    return None


def has_crossed(calls: Sequence[Call], rollout: Rollout) -> bool:
    """A task that served this session stopped being chosen, and the session called again after that.

    Where the server names no task, a session that called before and after counts.
    """
    names_tasks = any(call.task_id for call in calls)
    for life in rollout.replaced:
        left = rollout.left_at(life)
        served = (call for call in calls if call.ok and (call.task_id == life.task_id or not names_tasks))
        first = next(served, None)
        if left is not None and first is not None and first.t <= left and any(c.started_at >= left for c in calls):
            return True
    return False


def moves_of(calls: Sequence[Call], rollout: Rollout) -> list[Move]:
    """Each time the session's next answer came from another task."""
    answered = [call for call in calls if call.ok and call.task_id]
    return [
        Move(call.t, previous.task_id, call.task_id, reason_to_move(previous.task_id, call, rollout))
        for previous, call in pairwise(answered)
        if call.task_id != previous.task_id
    ]
