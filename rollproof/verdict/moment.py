"""The history around one moment, in words: what broke first, and what stood beside it.

Everything of the control plane within the window is told; of the calls only those that failed, and the last
good one of the session that broke, however long before. So is the state that its target was in: a target that drains
is still called until the nodes have learned of it, 10 s or more at AWS's pace. Failures that look alike are told once,
with their number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rollproof.verdict.model import FailedCall, Line, SessionVerdict
from rollproof.verdict.records import Call, DeploymentChange, History, TargetChange, TaskChange
from rollproof.verdict.rollout import Rollout
from rollproof.verdict.sessions import signature_of
from rollproof.verdict.words import count, short

WINDOW_S = 5.0
TASK_ID = re.compile(r"\b[0-9a-f]{32}\b")
TARGET_GROUP_ARN = re.compile(r"arn:[^ )]*:targetgroup/([^/ )]+)/[0-9a-f]+")
LINE_LIMIT = 40

T = TypeVar("T")


def around_first_break(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> tuple[Line, ...]:
    """The lines within 5 s of the first failure after the trigger (else of the first at all); empty without one."""
    broken = [session for session in sessions if session.first_failure is not None]
    start = rollout.triggered_at or 0.0
    after = [s for s in broken if s.first_failure is not None and s.first_failure.t >= start] or broken
    first = min(after, key=lambda s: s.first_failure.t if s.first_failure else 0.0, default=None)
    if first is None or first.first_failure is None:
        return ()
    failure = first.first_failure
    where = failure.session + ("" if failure.call_number is None else f" call {failure.call_number}")
    lines = [Line(failure.t, f"{where} {failure.tool} FAILED: {failure.signature}", True)]
    low, high = failure.t - WINDOW_S, failure.t + WINDOW_S
    lines += [line for line in control_plane(history) if low <= line.t <= min(high, rollout.over_at)]
    lines += _own_target(history, failure, low)
    lines += _last_good(history.calls, failure.session, failure.t)
    others = [
        c for c in history.calls if low <= c.t <= high and not c.ok and not _is_same(c, failure.session, failure.t)
    ]
    lines += alike(others)
    return _nearest(lines, failure.t)


def _nearest(lines: Sequence[Line], t: float) -> tuple[Line, ...]:
    """At most LINE_LIMIT of them, those nearest to `t`, in order."""
    kept = sorted(lines, key=lambda line: (not line.is_break, abs(line.t - t)))[:LINE_LIMIT]
    return tuple(sorted(kept, key=lambda line: (line.t, line.is_break)))


def _is_same(call: Call, session: str, t: float) -> bool:
    return call.session == session and call.t == t


def _own_target(history: History, failure: FailedCall, before: float) -> Iterator[Line]:
    """What the failed session's target had come to before the window begins."""
    earlier = [x for x in history.targets if x.task_id and x.task_id == failure.task_id and x.t < before]
    if earlier and earlier[-1].state != "healthy":
        yield _target(earlier[-1])


def _last_good(calls: Sequence[Call], session: str, t: float) -> Iterator[Line]:
    good = [call for call in calls if call.session == session and call.ok and call.t < t]
    if good:
        call = good[-1]
        on = f" on task {short(call.task_id)}" if call.task_id else ""
        yield Line(call.t, f"{session}{_number(call)} {call.tool} answered{on}")


def alike(failed: Sequence[Call]) -> Iterator[Line]:
    by_signature: dict[str, list[Call]] = {}
    for call in failed:
        by_signature.setdefault(signature_of(call), []).append(call)
    for signature, calls in by_signature.items():
        first = calls[0]
        rest = len(calls) - 1
        more = f" (+{count(rest, 'more call')} alike, to t={calls[-1].t:.1f} s)" if rest else ""
        yield Line(first.t, f"{first.session}{_number(first)} {first.tool} failed: {signature}{more}")


def _number(call: Call) -> str:
    return "" if call.number is None else f" call {call.number}"


def control_plane(history: History) -> Iterator[Line]:
    for event in history.events:
        yield Line(event.t, _shorter(event.text))
    for mark in history.marks:
        what = f": {_shorter(mark.detail)}" if mark.text == "fault-ended" else ""
        yield Line(mark.t, f"the play: {mark.text}{what}")
    for fault in history.faults:
        yield Line(fault.t, f"fault: {fault.text} {short(fault.detail)}".rstrip())
    for alarm in history.alarms:
        yield Line(alarm.t, f"alarm {alarm.text}: {alarm.detail}")
    for node in history.nodes:
        yield Line(node.t, f"{node.node} sees target {node.target_id} as {node.state}")
    yield from map(_deployment, _news(history.deployments, lambda d: (d.id, d.status, d.rollout_state)))
    yield from map(_target, _news(history.targets, lambda t: (t.target_id, t.state, t.cut)))
    yield from map(_task, _news(history.tasks, lambda t: (t.task_id, t.known, t.exit_code, t.signal)))
    for change in history.sessions:
        if change.event in ("stream_ended", "reinitialised"):
            on = f" on task {short(change.task_id)}" if change.task_id else ""
            why = f": {change.reason}" if change.reason else ""
            yield Line(change.t, f"{change.session} {change.event.replace('_', ' ')}{on}{why}")


def _news(changes: Iterable[T], facts: Callable[[T], tuple[object, ...]]) -> Iterator[T]:
    """Changes that say something new of their thing (the first of its facts), not only of its address or counts.

    The record of a signal is followed by that of the status it brings: one line is enough for both.
    """
    last: dict[object, tuple[object, ...]] = {}
    for change in changes:
        name, *now = facts(change)
        said = last.get(name, ())
        if not set(now) - {"", None} <= set(said):
            yield change
        last[name] = tuple(now)


def _shorter(message: str) -> str:
    """An event of ECS with its ids as short as everywhere else, and the target group's name for its ARN."""
    return TASK_ID.sub(lambda found: short(found[0]), TARGET_GROUP_ARN.sub(r"\1", message))


def _deployment(change: DeploymentChange) -> Line:
    state = " ".join(word for word in (change.status, change.rollout_state) if word)
    return Line(change.t, f"deployment {change.id} {state}".rstrip())


def _target(change: TargetChange) -> Line:
    task = f" (task {short(change.task_id)})" if change.task_id else ""
    why = f", {change.reason}" if change.reason else ""
    cut = f", {count(change.cut, 'connection')} cut" if change.cut else ""
    return Line(change.t, f"target {change.target_id}{task} {change.state}{why}{cut}")


def _task(change: TaskChange) -> Line:
    what = f"was sent {change.signal}" if change.signal else change.known or "changed"
    code = "" if change.exit_code is None else f", exit code {change.exit_code}"
    why = f", {change.stopped_reason}" if change.stopped_reason and not change.signal else ""
    return Line(change.t, f"task {short(change.task_id)} {what}{code}{why}")
