"""How the deployment and the calls ended: rolled back, unacknowledged, or with a state that is wrong."""

from __future__ import annotations

from rollproof.verdict.findings.story import EVIDENCE_LIMIT, Story, call_evidence
from rollproof.verdict.model import Evidence, Finding
from rollproof.verdict.words import at, count, some


def rolled_back(story: Story) -> Finding | None:
    """The circuit breaker gave a deployment up. ECS-DG/deployment-circuit-breaker."""
    rollout = story.rollout
    if rollout.failed_at is None:
        return None
    failed = max((d.failed_tasks for d in story.history.deployments if d.id == rollout.deployment_id), default=0)
    back = f"rolled back by {at(rollout.rolled_back_at)}" if rollout.rolled_back_at is not None else "not rolled back"
    left = len(rollout.replaced)
    lost = [
        s.session for s in story.lost if s.first_failure is None or s.first_failure.t >= (rollout.triggered_at or 0.0)
    ]
    fate = f"{count(len(lost), 'session')} lost meanwhile: {some(lost)}" if lost else "no session was lost by it"
    return Finding(
        "rolled-back",
        "The deployment was rolled back" if rollout.rolled_back_at is not None else "The deployment failed",
        f"Deployment {rollout.deployment_id or '(unnamed)'} FAILED at {at(rollout.failed_at)} after"
        f" {count(failed, 'failed task')}, {back}. {count(left, 'old task')} had left by then; {fate}.",
        (Evidence(rollout.failed_at, "deployment", note=rollout.deployment_id),),
    )


def redis_restarted(story: Story) -> Finding | None:
    """What an outage of Redis was: how long, and what it had forgotten by its end."""
    back = next((mark for mark in story.history.marks if mark.text == "redis-back"), None)
    fault = next((fault for fault in story.history.faults if fault.text == "redis-restart"), None)
    if back is None or fault is None:
        return None
    return Finding(
        "redis-restart",
        "Redis was restarted",
        f"{fault.detail} was ended at {at(fault.t)} and answered again at {at(back.t)}: {back.detail}.",
        (Evidence(fault.t, "fault", note="redis-restart"), Evidence(back.t, "mark", note="redis-back")),
    )


def unacknowledged(story: Story) -> Finding | None:
    """Calls that may or may not have been applied: no answer of the server came."""
    calls = [call for call in story.history.calls if call.is_unacknowledged]
    if not calls:
        return None
    sessions = dict.fromkeys(call.session for call in calls)
    writes = sum(call.is_write for call in calls)
    return Finding(
        "unacknowledged",
        "Calls of unknown outcome",
        f"{count(len(calls), 'call')} of {count(len(sessions), 'session')} got no answer of the server, first"
        f" {calls[0].tool} of {calls[0].session} at {at(calls[0].t)}: the client cannot know whether they were applied."
        f" {count(writes, 'call')} of them meant to change state: trying again may apply them twice, unless the server"
        " knows an idempotency key.",
        tuple(call_evidence(call) for call in calls[:EVIDENCE_LIMIT]),
    )


def wrong_state(story: Story) -> Finding | None:
    """State that the session's own acknowledged calls do not add up to."""
    wrong = [session for session in story.sessions if session.state_defects]
    if not wrong:
        return None
    first = wrong[0]
    return Finding(
        "wrong-state",
        "State incomplete, or applied twice",
        f"{count(len(wrong), 'session')} read a state that is not the sum of its acknowledged calls; first"
        f" {first.session}: {some(first.state_defects, 1)}. A status of 200 says that a call was answered, not that its"
        " state was right.",
        tuple(
            Evidence(s.first_failure.t, "call", s.session, s.first_failure.call_number, s.state_defects[0])
            for s in wrong[:EVIDENCE_LIMIT]
            if s.first_failure is not None
        ),
    )
