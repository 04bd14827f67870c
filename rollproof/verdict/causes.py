"""Why a session moved or failed: which transition of which target it followed.

Only what precedes can be a cause. For a planned stop it is the beginning of the draining, since that is what
takes the target out of the choice; it is the end of the deregistration delay for a call that was still in
flight then, or where `sticky_overrides_drain` kept the session on its target. A crash comes first in its
own life, so the latest transition before the failure is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from rollproof.verdict.faults import (
    explained_by,
    fault_behind_call,
    fault_behind_transition,
    lag_behind_transition,
    said,
)
from rollproof.verdict.records import Call, Fault, History
from rollproof.verdict.rollout import SAME_MOMENT_S, Disruption, Rollout, TaskLife
from rollproof.verdict.words import at, count, later, short


@dataclass(frozen=True)
class Transition:
    """A change of a target or its task that can take a session's task away. `words` complete "target X ..."."""

    t: float
    words: str


def cause_of(call: Call, signature: str, served_by: str, rollout: Rollout) -> str:
    """One sentence for a failed call of a session last served by the task `served_by` ("" if never named)."""
    what = f"call {call.number} {call.tool}" if call.number is not None else f"a {call.tool} call"
    if call.task_id and served_by and call.task_id != served_by:
        what += f", now on task {short(call.task_id)},"
    life = rollout.life(served_by)
    if rollout.disruption is Disruption.OUTAGE and (life is None or life.leaving_at is None):
        return _after_an_outage(call, what, signature, rollout)
    inferred = ""
    fault = fault_behind_call(rollout.faults, call, served_by)
    if life is None and not served_by:
        life = _nearest(call, rollout)
        inferred = " (the server names no task: inferred from the time)"
    if life is None:
        if fault is not None:
            return explained_by(fault, call, what, signature)
        return f"{what} failed with {signature}; no transition of a task explains it"
    found = decisive(life, call.t, call.started_at, rollout.sticky_overrides_drain)
    who = f"target {life.target_id} (task {short(life.task_id)})" if life.target_id else f"task {short(life.task_id)}"
    if fault is not None and (found is None or fault.t > found.t):
        return explained_by(fault, call, what, signature)
    if found is None:
        return f"{what} failed with {signature}; {who} had not left by then: the rollout does not explain it"
    led_to_it = _led_to(found, life, call, rollout)
    told = f"{said(led_to_it)}; " if led_to_it is not None else ""
    told += f"{who} {found.words} at {at(found.t)}"
    return f"{told}; {later(call.t - found.t)} {what} failed with {signature}{inferred}"


def _led_to(found: Transition, life: TaskLife, call: Call, rollout: Rollout) -> Fault | None:
    """The fault that brought the transition about, or made the session feel it so late; None for a rollout's own."""
    if rollout.disruption is Disruption.FAULT or found.t < (life.draining_at or inf):
        return fault_behind_transition(rollout.faults, life.task_id, found.t)
    if life.obeyed_at is None or call.t < life.obeyed_at:
        return None
    return lag_behind_transition(rollout.faults, found.t)


def _after_an_outage(call: Call, what: str, signature: str, rollout: Rollout) -> str:
    began_at = rollout.triggered_at
    if began_at is None or call.t < began_at - SAME_MOMENT_S:
        return f"{what} failed with {signature}, before Redis was restarted: the outage does not explain it"
    return f"Redis was restarted at {at(began_at)}; {later(call.t - began_at)} {what} failed with {signature}"


def reason_to_move(from_task: str, call: Call, rollout: Rollout) -> str:
    """Which transition a session followed when `call` was answered elsewhere; "" where none came before it."""
    life = rollout.life(from_task)
    found = decisive(life, call.t, call.t, rollout.sticky_overrides_drain) if life else None
    return f"its target {found.words} at {at(found.t)}" if found else ""


def decisive(life: TaskLife, failed_at: float, asked_at: float, sticky_overrides_drain: bool) -> Transition | None:
    """The transition that a failure at `failed_at`, of a call begun at `asked_at`, followed."""
    past = [change for change in transitions(life) if change.t <= failed_at + SAME_MOMENT_S]
    if not past:
        return None
    if life.has_crashed or life.draining_at is None:
        return past[-1]
    planned = [change for change in past if change.t >= life.draining_at]
    if not planned:
        return past[-1]
    if sticky_overrides_drain:
        return next((change for change in planned if change.t == life.unused_at), planned[0])
    return planned[-1] if asked_at < life.draining_at else planned[0]


def transitions(life: TaskLife) -> list[Transition]:
    """What happened to a task that its sessions can feel, in order."""
    cut = f" ({count(life.cut, 'connection')} cut)" if life.cut else ""
    code = "" if life.exit_code is None else f" with code {life.exit_code}"
    # Unhealthy while its server came up, a target had no session yet.
    was_coming_up = life.healthy_at is not None and (life.unhealthy_at or 0.0) < life.healthy_at
    marks = (
        (None if was_coming_up else life.unhealthy_at, "turned unhealthy"),
        (life.draining_at, "began draining"),
        (life.unused_at, f"reached the end of its deregistration delay{cut}"),
        (life.sigterm_at, "was sent its stop signal"),
        (life.sigkill_at, "was sent SIGKILL"),
        (life.exited_at, f"lost its process (exited{code})"),
    )
    return sorted((Transition(t, words) for t, words in marks if t is not None), key=lambda change: change.t)


def _nearest(call: Call, rollout: Rollout) -> TaskLife | None:
    """The replaced task that left last before the failure: the best guess where no answer names a task."""
    left = ((rollout.left_at(life), life) for life in rollout.replaced)
    before = [(t, life) for t, life in left if t is not None and t <= call.t + SAME_MOMENT_S]
    return max(before, key=lambda pair: pair[0])[1] if before else None


def served_by(history: History, session: str, t: float) -> str:
    """The task that had answered the session last at `t`, by its calls or its opening; "" if none was named."""
    answers = [call for call in history.by_session.get(session, ()) if call.ok and call.task_id and call.t <= t]
    if answers:
        return max(answers, key=lambda call: call.t).task_id
    opened = [event.task_id for event in history.sessions if event.session == session and event.t <= t]
    return next((task_id for task_id in reversed(opened) if task_id), "")
