"""A session's open streams: from `stream_opened` to `stream_ended`, each with the task that held it.

The record of an end names the task that answered the session *last*, which is another one as soon as the
session is split; so a stream belongs to the task of its opening.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.verdict.causes import served_by
from rollproof.verdict.records import History


@dataclass(frozen=True)
class Stream:
    """`ended_at` is None while nothing was written of its end."""

    session: str
    task_id: str
    opened_at: float
    ended_at: float | None = None
    reason: str = ""


def streams_of(history: History) -> tuple[Stream, ...]:
    """All streams that were opened, in order."""
    found = []
    for opened in history.sessions:
        if opened.event == "stream_opened":
            later = (e for e in history.sessions if e.session == opened.session and e.t >= opened.t)
            ended = next((event for event in later if event.event == "stream_ended"), None)
            task = opened.task_id or served_by(history, opened.session, opened.t)
            end, reason = (ended.t, ended.reason) if ended else (None, "")
            found.append(Stream(opened.session, task, opened.t, end, reason))
    return tuple(found)
