"""Which task answered a call whose answer names none: the balancer's access log knows.

Most servers do not say which task they are. A call was answered by the target of a request that arrived while the call
was under way and got the same status. Where several calls overlap, that may leave more than one task: then nothing is
claimed, and for a session either all its answered calls are attributed or none, since half of them would look like
moves. A server that does name its task is taken at its word alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rollproof.verdict.records import Call, History, Request
from rollproof.verdict.rollout import TaskLife, read_lives, target_of

CLOCKS_APART_S = 0.01
"""What the balancer's clock and the probe's may differ by, on one machine."""


def with_tasks(history: History) -> History:
    """The same facts, with a task for each call where no answer names one and the access log leaves one choice."""
    if not history.requests or any(call.task_id for call in history.calls):
        return history
    lives = read_lives(history)
    arrivals = [request.arrived_at for request in history.requests]
    found: dict[int, Call] = {}
    for calls in history.by_session.values():
        named = [replace(call, task_id=_task_of(call, history.requests, arrivals, lives)) for call in calls]
        if all(after.task_id for after in named if after.ok):
            found |= {id(call): after for call, after in zip(calls, named, strict=True)}
    return replace(history, calls=tuple(found.get(id(call), call) for call in history.calls))


def _task_of(call: Call, requests: Sequence[Request], arrivals: Sequence[float], lives: Sequence[TaskLife]) -> str:
    if call.http_status is None:
        return ""
    first = bisect_left(arrivals, call.started_at - CLOCKS_APART_S)
    last = bisect_right(arrivals, call.t + CLOCKS_APART_S)
    tasks = set(_tasks(requests[first:last], str(call.http_status), lives))
    return tasks.pop() if len(tasks) == 1 else ""


def _tasks(requests: Sequence[Request], status: str, lives: Sequence[TaskLife]) -> Iterator[str]:
    for request in requests:
        life = target_of(request, lives) if request.target_status == status else None
        if life is not None:
            yield life.task_id
