"""What the load balancer did with requests while targets came and went, from its access log."""

from __future__ import annotations

from collections import Counter

from rollproof.verdict.findings.story import EVIDENCE_LIMIT, Story
from rollproof.verdict.model import Evidence, Finding
from rollproof.verdict.records import Request
from rollproof.verdict.rollout import TaskLife, target_of
from rollproof.verdict.words import count, some, spread


def alb_errors(story: Story) -> Finding | None:
    """5xx that the load balancer made itself, with its reasons. ALB-UG/load-balancer-troubleshooting."""
    made = [r for r in story.history.requests if r.elb_status.startswith("5") and not r.target_status.startswith("5")]
    if not made:
        return None
    kinds = Counter((request.elb_status, _reason(request)) for request in made)
    told = some((f"{number} x {status} {reason}" for (status, reason), number in kinds.most_common()), 5)
    targets = some(dict.fromkeys(request.target for request in made if request.was_dispatched))
    return Finding(
        "alb-errors",
        "Errors made by the load balancer",
        f"{count(len(made), 'request')}: {told}."
        + (f" Targets: {targets}." if targets else "")
        + " The load balancer never retries on another target; each of these reached a client.",
        _evidence(made),
    )


def fail_open(story: Story) -> Finding | None:
    """ALB-UG: with only unhealthy targets registered, requests go to all of them."""
    served = [request for request in story.history.requests if request.was_dispatched and _is_fail_open(story, request)]
    if not served:
        return None
    good = sum(request.elb_status.startswith("2") for request in served)
    return Finding(
        "fail-open",
        "Requests served in fail-open",
        f"{count(len(served), 'request')} went to unhealthy targets while no target was healthy; {good} of them were"
        " answered 2xx. The load balancer would rather send traffic to unhealthy targets than to none.",
        _evidence(served),
    )


def propagation_window(story: Story) -> Finding | None:
    """LBC#2366: nodes learn of a draining late, and send new requests to the target until they do."""
    late = [(r, life, gap) for r in story.history.requests for life, gap in _into_draining(story, r)]
    if not late:
        return None
    gaps = [gap for _, _, gap in late]
    failed = sum(not request.elb_status.startswith("2") for request, _, _ in late)
    targets = {life.target_id for _, life, _ in late}
    return Finding(
        "propagation-window",
        "New requests to a draining target",
        f"{count(len(late), 'request')} reached {count(len(targets), 'draining target')} {spread(gaps)} (real) after"
        f" draining began, before every node had learned of it; {failed} not answered 2xx. A task must go on"
        " serving after its deregistration has begun.",
        _evidence([request for request, _, _ in late]),
    )


def _reason(request: Request) -> str:
    return request.error_reason if request.error_reason not in ("", "-") else "(no reason given)"


def _evidence(requests: list[Request]) -> tuple[Evidence, ...]:
    return tuple(Evidence(r.t, "request", note=f"{r.elb_status} {r.target}") for r in requests[:EVIDENCE_LIMIT])


def _is_fail_open(story: Story, request: Request) -> bool:
    """The request's target was unhealthy, and so was every registered target."""
    states: dict[str, str] = {}
    for change in story.history.targets:
        if change.t > request.arrived_at:
            break
        states[change.target_id] = change.state
    life = target_of(request, story.rollout.lives)
    ids = life.addresses if life else frozenset({request.target})
    is_unhealthy = any(states.get(target_id) == "unhealthy" for target_id in ids)
    return is_unhealthy and "healthy" not in states.values()


def _into_draining(story: Story, request: Request) -> list[tuple[TaskLife, float]]:
    """The draining target that a new request was sent to, and how long after draining began."""
    life = target_of(request, story.rollout.lives)
    if life is None or life.draining_at is None or story.rollout.sticky_overrides_drain:
        return []
    if story.rollout.sessions_stay:
        return []
    until = next((t for t in (life.obeyed_at, life.unused_at) if t is not None), story.history.ended_at)
    return [(life, request.arrived_at - life.draining_at)] if life.draining_at < request.arrived_at <= until else []
