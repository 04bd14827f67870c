"""Safety: what must never happen, whatever the sessions made of it. A broken one fails the rehearsal.

A rehearsal that sends SIGTERM into a drain, or requests to a target that every node knows to be gone, is no
rehearsal of AWS; its sessions' fate proves nothing either way.
"""

from __future__ import annotations

from collections.abc import Sequence

from rollproof.verdict.model import Check, Evidence, Outcome
from rollproof.verdict.records import History, as_flag
from rollproof.verdict.rollout import Rollout, TaskLife, target_of
from rollproof.verdict.steps import CLOCK_S
from rollproof.verdict.words import at, count, short

Breach = tuple[str, Evidence]


def safety_checks(history: History, rollout: Rollout) -> tuple[Check, ...]:
    """All of them, in a fixed order."""
    return (
        _sigterm_after_the_delay(history, rollout),
        _no_request_after_draining(history, rollout),
        _sigkill_after_stop_timeout(history, rollout),
    )


def _sigterm_after_the_delay(history: History, rollout: Rollout) -> Check:
    """ECS-DG/load-balancer-connection-draining: SIGTERM waits for the target to be unused."""
    delay = history.setting_s("target_group.deregistration_delay_s")
    visible = history.setting_s("timing.drain_visible_s") or 0.0
    drains = as_flag(history.settings.get("behaviour.stop_task_drains", True))
    signalled = [
        life
        for life in rollout.lives
        if life.sigterm_at is not None and life.healthy_at is not None and (drains or life.stop_code != "UserInitiated")
    ]
    breaches = [breach for life in signalled if (breach := _early_sigterm(life, delay, visible)) is not None]
    return _check(
        "sigterm-after-drain",
        "SIGTERM only after the full deregistration delay",
        f"{count(len(signalled), 'task')} signalled, each after its target's whole delay",
        breaches,
        len(signalled),
    )


def _early_sigterm(life: TaskLife, delay: float | None, visible: float) -> Breach | None:
    """`visible`: the draining state shows a little after the delay has begun to run (O2: 0.1..1.4 s)."""
    sigterm_at = life.sigterm_at or 0.0
    who = f"task {short(life.task_id)}"
    evidence = Evidence(sigterm_at, "task", note=life.task_id)
    if life.draining_at is None:
        return f"{who} was sent SIGTERM at {at(sigterm_at)} though its target never drained", evidence
    allowed = [life.draining_at + delay - 2 * visible] if delay is not None else []
    allowed += [t for t in (life.draining_until, life.unused_at) if t is not None]
    early = max(allowed, default=life.draining_at) - sigterm_at
    if early <= CLOCK_S:
        return None
    waited = sigterm_at - life.draining_at
    return f"{who} was sent SIGTERM {waited:.1f} s after draining began, {early:.1f} s too early", evidence


def _no_request_after_draining(history: History, rollout: Rollout) -> Check:
    """ALB-UG: no new request once deregistered; the nodes' lag is the only grace (LBC#2366)."""
    closed = {life.task_id: at for life in rollout.lives if (at := _closed_at(rollout, life)) is not None}
    breaches: list[Breach] = []
    for request in history.requests:
        life = target_of(request, rollout.lives)
        left = closed.get(life.task_id) if life else None
        if life and left is not None and request.arrived_at > left + CLOCK_S:
            text = f"a request reached target {life.target_id} {request.arrived_at - left:.1f} s after that"
            breaches.append((text, Evidence(request.t, "request", note=request.line)))
    seen = len(closed) if history.requests else 0
    return _check(
        "no-request-after-drain",
        "No new request reaches a target that every node knows to drain",
        f"{count(seen, 'drained target')}, {count(len(history.requests), 'request')}, none where it may not be",
        breaches,
        seen,
    )


def _closed_at(rollout: Rollout, life: TaskLife) -> float | None:
    """When the last node had learned of the draining. A crashed task's target is chosen until then, too.

    Where cookies or sessions still lead to a draining target, the end of the draining.
    """
    if not (rollout.sticky_overrides_drain or rollout.sessions_stay):
        return life.obeyed_at
    return life.unused_at if life.unused_at is not None else life.draining_until


def _sigkill_after_stop_timeout(history: History, rollout: Rollout) -> Check:
    """API-ECS ContainerDefinition.stopTimeout: SIGKILL comes when the timeout has passed, and not before."""
    timeout = history.setting_s("task_definition.stop_timeout_s")
    killed = [
        (life, life.sigkill_at - life.sigterm_at)
        for life in rollout.lives
        if life.sigkill_at is not None and life.sigterm_at is not None
    ]
    breaches = [
        (
            f"task {short(life.task_id)} was sent SIGKILL {waited:.1f} s after SIGTERM, before its {timeout:g} s",
            Evidence(life.sigkill_at or 0.0, "task", note=life.task_id),
        )
        for life, waited in killed
        if timeout is not None and waited < timeout - CLOCK_S
    ]
    return _check(
        "sigkill-after-stop-timeout",
        "SIGKILL only after the stop timeout",
        f"{count(len(killed), 'task')} killed, each after its stop timeout",
        breaches,
        len(killed) if timeout is not None else 0,
    )


def _check(identifier: str, title: str, good: str, breaches: Sequence[Breach], seen: int) -> Check:
    """FAIL with what broke it, PASS with what was seen, UNKNOWN where there was nothing to see."""
    if breaches:
        more = f" (and {len(breaches) - 1} more)" if len(breaches) > 1 else ""
        evidence = tuple(evidence for _, evidence in breaches[:10])
        return Check(identifier, title, Outcome.FAIL, breaches[0][0] + more, evidence)
    if not seen:
        return Check(identifier, title, Outcome.UNKNOWN, "the run gave no occasion to see it")
    return Check(identifier, title, Outcome.PASS, good)
