"""What the infrastructure's own monitoring showed while sessions were being lost."""

from __future__ import annotations

from rollproof.verdict.findings.story import EVIDENCE_LIMIT, Story, call_evidence
from rollproof.verdict.model import Finding
from rollproof.verdict.records import Call
from rollproof.verdict.rollout import minimum_healthy
from rollproof.verdict.sessions import signature_of
from rollproof.verdict.words import at, count, some


def green_dashboard(story: Story) -> Finding | None:
    """Claimed only if all of it is true: targets healthy, no 5xx, no alarm, deployment completed, service steady."""
    gone = [call for call in story.history.calls if call.is_session_gone]
    rollout = story.rollout
    if not gone or rollout.completed_at is None or rollout.steady_at is None:
        return None
    start, end = min(call.started_at for call in gone), gone[-1].t
    healthy = minimum_healthy(story.history, start, end)
    alarms = [a for a in story.history.alarms if start <= a.t <= end and a.detail == "ALARM"]
    if not healthy or alarms or _server_errors(story, start, end):
        return None
    log = "0 ALB or target 5xx" if story.history.requests else "no 5xx seen by a client"
    return Finding(
        "green-dashboard",
        "A green dashboard during the loss",
        f"From {at(start)} to {at(end)} the server answered {_codes(gone)} to"
        f" {count(len(gone), 'call')}. Meanwhile: at least {count(healthy, 'healthy target')}, {log}, no alarm; the"
        f" deployment went to COMPLETED ({at(rollout.completed_at)}) and the service reached a steady state"
        f" ({at(rollout.steady_at)}). The loss is a JSON-RPC error, which health checks, 5xx alarms and the circuit"
        " breaker do not see. What would: a log metric filter on -32600 with an alarm, or HTTPCode_Target_4XX_Count"
        " of the target group during deployments (set as a deployment alarm, it rolls back).",
        tuple(call_evidence(call) for call in gone[:EVIDENCE_LIMIT]),
    )


def _server_errors(story: Story, start: float, end: float) -> bool:
    logged = (
        request.elb_status.startswith("5") or request.target_status.startswith("5")
        for request in story.history.requests
        if start <= request.arrived_at <= end
    )
    seen = (
        call.http_status is None or call.http_status >= 500
        for call in story.history.calls
        if not call.ok and start <= call.t <= end
    )
    return any(logged) or any(seen)


def _codes(gone: list[Call]) -> str:
    return some(dict.fromkeys(signature_of(call) for call in gone))
