"""Cookies: what their rotation means (nothing), and what holding on to an old one means."""

from __future__ import annotations

from rollproof.verdict.findings.story import EVIDENCE_LIMIT, Story
from rollproof.verdict.model import Evidence, Finding, SessionOutcome, SessionVerdict
from rollproof.verdict.words import at, count, short, some

STICKY_COOKIE = "AWSALB"
FIRST_ONLY = frozenset({"first", "first-only", "first_only", "first-cookie", "first-cookie-only", "first_cookie_only"})
"""How a probe's setting, or its `session` record, says that a client never updates its first cookie."""


def cookie_rotation(story: Story) -> Finding | None:
    """ALB-UG/sticky-sessions: AWSALB is re-issued on every response. Its value says nothing; its task does."""
    changes = [cookie for cookie in story.history.cookies if cookie.name == STICKY_COOKIE]
    same = [c for c in changes if c.task_id and c.task_id == c.previous_task_id]
    if not same:
        return None
    other = sum(bool(c.task_id and c.previous_task_id) and c.task_id != c.previous_task_id for c in changes)
    sessions = {cookie.session for cookie in changes}
    answers = sum(call.http_status is not None and call.session in sessions for call in story.history.calls)
    moves = sorted(((m.t, s.session, m) for s in story.sessions for m in s.moves), key=lambda each: each[:2])
    told = some(f"{name} at {at(t)} ({short(move.from_task)} to {short(move.to_task)})" for t, name, move in moves)
    moved = f"Sessions that really moved: {told}." if moves else "No session moved."
    return Finding(
        "cookie-rotation",
        "Cookie rotation is not instability",
        f"{STICKY_COOKIE} changed {count(len(changes), 'time')} over {count(answers, 'answered call')}: {len(same)}"
        f" times on the same task, {other} on another one, {len(changes) - len(same) - other} on answers that name no"
        " task. The load balancer re-encrypts the cookie on every response: judge stickiness by the task that answers,"
        f" never by the cookie's value. {moved}",
        tuple(Evidence(c.t, "cookie", c.session, note=short(c.task_id)) for c in same[:EVIDENCE_LIMIT]),
    )


def first_cookie_only(story: Story) -> Finding | None:
    """Clients that keep their first cookie are sticky only until its inner duration runs out, or their target goes."""
    stale = [session for session in story.sessions if session.session in _first_only_sessions(story)]
    if not stale:
        return None
    fates = ", ".join(f"{_fates(stale, outcome)} {outcome}" for outcome in SessionOutcome)
    moves = sum(len(session.moves) for session in stale)
    return Finding(
        "first-cookie-only",
        "Clients that never update their first cookie",
        f"{count(len(stale), 'session')} sent only the first {STICKY_COOKIE} they were given: {fates}, {moves} moves"
        " between tasks. That cookie still names the first target, so once the target is gone (or the cookie's own"
        " duration has passed) every call is routed afresh, and stickiness never comes back. A client must take the"
        " cookie of each response.",
        tuple(Evidence(m.t, "call", s.session) for s in stale for m in s.moves[:1])[:EVIDENCE_LIMIT],
    )


def no_affinity(story: Story) -> Finding | None:
    """Sessions answered by several tasks that were all up: nothing kept them in one place."""
    moved = [(session, [move for move in session.moves if not move.reason]) for session in story.sessions]
    wandering = [(session, moves) for session, moves in moved if moves]
    if not wandering:
        return None
    total = sum(len(moves) for _, moves in wandering)
    return Finding(
        "no-affinity",
        "Sessions changed tasks without any transition",
        f"{count(len(wandering), 'session')} changed tasks {count(total, 'time')} while the task before was still up:"
        " their clients send no sticky cookie, or stickiness is off. Only state outside the tasks survives this,"
        " with or without a deployment.",
        tuple(Evidence(moves[0].t, "call", session.session) for session, moves in wandering[:EVIDENCE_LIMIT]),
    )


def _first_only_sessions(story: Story) -> frozenset[str]:
    opened = (event for event in story.history.sessions if event.event == "opened")
    named = {event.session for event in opened if _is_first_only(event.fields.get("cookies"))}
    all_of_them = any(
        "cookie" in name and name.startswith("probe.") and _is_first_only(value)
        for name, value in story.history.settings.items()
    )
    return frozenset(session.session for session in story.sessions) if all_of_them else frozenset(named)


def _is_first_only(value: object) -> bool:
    return str(value).lower() in FIRST_ONLY


def _fates(sessions: list[SessionVerdict], outcome: SessionOutcome) -> int:
    return sum(session.outcome is outcome for session in sessions)
