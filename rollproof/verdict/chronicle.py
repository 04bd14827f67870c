"""A whole run in words: everything of the control plane from the disruption on, and the calls that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rollproof.verdict.attribution import with_tasks
from rollproof.verdict.model import Line
from rollproof.verdict.moment import alike, around_first_break, control_plane
from rollproof.verdict.records import read
from rollproof.verdict.rollout import read_rollout
from rollproof.verdict.sessions import judge_sessions


def chronicle_of(records: Iterable[Any]) -> tuple[Line, ...]:
    """In order of time. Failures that look alike are told once a session, the first of all is marked."""
    history = with_tasks(read(records))
    rollout = read_rollout(history)
    start = rollout.triggered_at or 0.0
    told = {line.text: line for line in reversed([*control_plane(history)]) if start <= line.t <= rollout.over_at}
    lines = list(told.values())  # what repeats itself, as a client does that seeks its stream, is told once
    broken = next(
        (x for x in around_first_break(history, rollout, judge_sessions(history, rollout)) if x.is_break), None
    )
    if broken is not None:
        lines.append(broken)
    for calls in history.by_session.values():
        lines += alike([call for call in calls if not call.ok and (broken is None or call.t != broken.t)])
    return tuple(sorted(lines, key=lambda line: (line.t, line.is_break)))
