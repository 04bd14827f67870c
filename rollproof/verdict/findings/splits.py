"""One logical operation, two tasks: a write and its read, or a stream and its session's calls."""

from __future__ import annotations

from collections.abc import Iterator

from rollproof.verdict.findings.story import EVIDENCE_LIMIT, Story, call_evidence
from rollproof.verdict.model import Finding
from rollproof.verdict.records import Call
from rollproof.verdict.rollout import SAME_MOMENT_S, Disruption, TaskLife, target_of
from rollproof.verdict.sessions import signature_of
from rollproof.verdict.streams import streams_of
from rollproof.verdict.words import at, count, short


def atomic_failure(story: Story) -> Finding | None:
    """The first write that succeeded and whose read-back, under the same call number, did not."""
    pairs = sorted(_split_pairs(story.history.calls), key=lambda pair: pair[1].t)
    if not pairs or story.rollout.disruption is Disruption.OUTAGE:  # then it is the store that came between them
        return None
    write, read = pairs[0]
    wrote = f"on task {short(write.task_id)}" if write.task_id else "on a task that it does not name"
    task = read.task_id or _next_task(story, read)
    where = f"on task {short(task)}" if task and task != write.task_id else "elsewhere"
    if task and task == write.task_id:
        where = "on the same task"
    return Finding(
        "atomic-failure",
        "The atomic failure: a write that succeeded, then its read that did not",
        f"{write.session}, call {write.number}: {write.tool} succeeded {wrote} at {at(write.t)}; {read.tool}, asked"
        f" {max(read.started_at - write.t, 0.0):.1f} s later, failed {where} with {signature_of(read)}. One logical"
        " operation was split across a task boundary: the client cannot tell its own bug from a replaced task."
        f" {count(len(pairs), 'such pair')} in this run.",
        tuple(call_evidence(call) for pair in pairs[:EVIDENCE_LIMIT] for call in pair),
    )


def split_session(story: Story) -> Finding | None:
    """ALB: a stream stays on its draining target to the end of the delay while new calls go elsewhere."""
    splits = list(_splits(story))
    if not splits:
        return None
    sessions = {call.session for _, call in splits}
    life, call = splits[0]
    return Finding(
        "split-session",
        "Split session: the stream on the old task, the calls on the new one",
        f"{count(len(sessions), 'session')} had a stream on a draining task while another task answered"
        f" {count(len(splits), 'call')}; first {call.session} at {at(call.t)}: stream on {short(life.task_id)}, call on"
        f" {short(call.task_id)}. What the server sends to such a session leaves on a stream of a task that no longer"
        " sees its calls.",
        tuple(call_evidence(call, f"stream on {short(life.task_id)}") for life, call in splits[:EVIDENCE_LIMIT]),
    )


def _split_pairs(calls: tuple[Call, ...]) -> Iterator[tuple[Call, Call]]:
    """A write that succeeded, and the first read of the same number after it, if that one failed."""
    written: dict[tuple[str, int], Call] = {}
    for call in calls:
        if call.number is None:
            continue
        operation = (call.session, call.number)
        if call.is_write and call.ok:
            written[operation] = call
        elif call.is_read and (write := written.pop(operation, None)) is not None and not call.ok:
            yield write, call


def _next_task(story: Story, read: Call) -> str:
    """Where a failed call went if its answer names no task: known where the access log leaves one choice."""
    tasks = {
        life.task_id
        for request in story.history.requests
        if read.started_at - SAME_MOMENT_S <= request.arrived_at <= read.t
        and request.target_status == str(read.http_status)
        and (life := target_of(request, story.rollout.lives)) is not None
    }
    return tasks.pop() if len(tasks) == 1 else ""


def _splits(story: Story) -> Iterator[tuple[TaskLife, Call]]:
    """Each answered call of a session whose stream was open on another task that drained."""
    for stream in streams_of(story.history):
        life = story.rollout.life(stream.task_id)
        if life is None or life.draining_at is None:
            continue
        ends = (stream.ended_at, life.exited_at, story.history.ended_at)
        end = next(t for t in ends if t is not None)
        for call in story.history.by_session.get(stream.session, ()):
            is_elsewhere = call.ok and call.task_id not in ("", stream.task_id)
            if is_elsewhere and max(stream.opened_at, life.draining_at) <= call.started_at and call.t <= end:
                yield life, call
