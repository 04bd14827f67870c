"""A prediction in sentences: what sessions and streams meet, and the traps that arithmetic shows."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from math import inf

from rollproof.prediction.predict import WAITER_GIVES_UP_S, Prediction
from rollproof.verdict.steps import HEALTHY, OBEYED, SIGKILL, SIGTERM, UNUSED
from rollproof.verdict.waves import Range
from rollproof.verdict.words import count, spread

HEARTBEAT_S = 15.0
"""Between two pings of a silent event stream, as the Python MCP SDK's server has it (sse-starlette's default)."""

GRACE_VARIABLE = "SHUTDOWN_GRACE_SECONDS"
"""The sample server's own: how long it waits for calls in flight after SIGTERM."""


class Fate(StrEnum):
    """What becomes of a session that moves: `unknown` for a server of which nothing is known."""

    LOST = "lost"
    DEGRADED = "degraded"
    SURVIVED = "survived"
    UNKNOWN = "unknown"


_FATES = {
    Fate.LOST: "They are lost with that move: the next call is answered by a task that does not know the session"
    " (404 Session not found), and so is every later one.",
    Fate.DEGRADED: "Their next call fails (404 Session not found); these clients begin anew and repeat what they had"
    " done.",
    Fate.SURVIVED: "They survive it: any task can serve them.",
    Fate.UNKNOWN: "A session in a task's memory is lost with that move (404 Session not found); one that any task can"
    " serve goes on.",
}


def sentences(prediction: Prediction, fate: Fate) -> tuple[str, ...]:
    """What the deployment means for sessions, requests in flight and the old tasks."""
    if prediction.is_stuck:
        return (_stuck(prediction),)
    if not prediction.stops():
        return ("No task runs, so none is replaced: the deployment completes with nothing to move.",)
    return tuple(_told(prediction, fate))


def traps(prediction: Prediction) -> tuple[str, ...]:
    """What this combination of knobs does that nobody may have meant."""
    return tuple(_traps(prediction))


def between(span: Range) -> str:
    """`between 85.0 and 146.4 s`, or `at 12.0 s`."""
    low, high = (f"{value:.1f}" for value in span)
    return f"at {low} s" if low == high else f"between {low} and {high} s"


def _stuck(prediction: Prediction) -> str:
    service = prediction.settings.service
    return (
        f"Stuck: with {count(service.desired_count, 'task')} at least {prediction.floor} must stay healthy"
        f" ({service.minimum_healthy_percent} %, rounded up) and at most {prediction.ceiling} may run"
        f" ({service.maximum_percent} %, rounded down), so ECS can neither start nor stop enough of them. It says that"
        ' it "was unable to stop or start tasks during a deployment because of the service deployment configuration",'
        " and the deployment never ends. Change minimum_healthy_percent, maximum_percent or desired_count."
    )


def _told(prediction: Prediction, fate: Fate) -> Iterator[str]:
    settings, waves = prediction.settings, prediction.stops()
    moves, cut = prediction.span(prediction.moves_with), prediction.span(UNUSED)
    signal, kill = prediction.span(SIGTERM), prediction.span(SIGKILL)
    if not settings.service.has_load_balancer:
        yield (
            "There is no load balancer, so nothing leads a session from one task to another: it ends with its task,"
            f" which is signalled {_at(signal)} after the deployment begins."
        )
        return
    if settings.target_group.stickiness.enabled:
        yield f"Every session of the old tasks moves {_at(moves)} after the deployment begins, {_why(prediction)}."
    else:
        yield (
            "Without stickiness a client's requests go to any task, before the deployment too: what lives in a task's"
            " memory is lost without one. The old tasks get their last request"
            f" {_at(moves)} after the deployment begins."
        )
    if settings.target_group.stickiness.enabled or fate is not Fate.LOST:
        yield _FATES[fate]
    if len(waves) > 1:
        yield (
            f"The old tasks go in {len(waves)} waves. A session that moves may land on an old task and move with a"
            f" later wave again, up to {len(waves)} times."
        )
    yield (
        f"What is in flight, and open streams, stay on the old task until the delay of"
        f" {settings.target_group.deregistration_delay_s:g} s is over, {_at(cut)}: then requests get a 502 and streams"
        " end. Raising deregistration_delay_s only postpones that, SIGTERM"
        + (", and the moves." if prediction.moves_with == UNUSED else " and the end of the deployment; not the moves.")
    )
    name = settings.task_definition.stop_signal
    yield (
        f"{name} comes {_at(signal)}, when no request is left on the task, and SIGKILL"
        f" {settings.task_definition.stop_timeout_s:g} s later if it still runs, by {_latest(kill)}."
    )


def _why(prediction: Prediction) -> str:
    if prediction.moves_with == UNUSED:
        return (
            "when the delay is over, for with sticky_overrides_drain a valid cookie still reaches a target that drains"
        )
    return "when the load balancer's nodes obey the draining, cookie or not"


def _traps(prediction: Prediction) -> Iterator[str]:
    settings, timing = prediction.settings, prediction.timing
    service, definition, group = settings.service, settings.task_definition, settings.target_group
    grace = definition.environment.get(GRACE_VARIABLE, "")
    if grace.replace(".", "", 1).isdigit() and float(grace) >= definition.stop_timeout_s:
        yield (
            f"stop_timeout_s {definition.stop_timeout_s:g} is no longer than the server's own grace of {grace} s"
            f" ({GRACE_VARIABLE}): SIGKILL comes before it is through."
        )
    if settings.load_balancer.idle_timeout_s <= HEARTBEAT_S and service.has_load_balancer:
        yield (
            f"idle_timeout_s {settings.load_balancer.idle_timeout_s:g} is no longer than the {HEARTBEAT_S:g} s between"
            " two heartbeats of an MCP stream: silent streams are cut without any deployment."
        )
    if prediction.is_stuck or not prediction.waves or not service.has_load_balancer:
        return
    delay, lag = group.deregistration_delay_s, timing.drain_propagation_s + timing.drain_propagation_jitter_s
    if timing.drain_propagation_s > 0 and delay < lag:
        yield (
            f"deregistration_delay_s {delay:g} may be over before every node has learned of the draining (up to"
            f" {lag:g} s): until the very cut new requests may reach the old task, and get a 502 with it."
        )
    done = prediction.completed
    if done is not None and done.earliest_s and delay * len(prediction.stops()) > done.earliest_s / 2:
        yield (
            f"{_waiting(prediction)} of at least {done.earliest_s:.0f} s of deployment are deregistration delay. ECS"
            " waits all of it, however idle the tasks are; beyond the longest call it keeps nothing alive."
        )
    stable = prediction.stable
    if stable is not None and stable.latest_s == inf:
        word = "gives up" if stable.earliest_s == inf else "may give up"
        yield f"`aws ecs wait services-stable` {word} before that is over: it polls for {WAITER_GIVES_UP_S:g} s."
    for low, high in prediction.gaps_s:
        yield f"From {low:.1f} to {high:.1f} s of the simulated run no target takes new requests: each is answered 503."
    yield from _close_calls(prediction)


def _waiting(prediction: Prediction) -> str:
    delay, waves = prediction.settings.target_group.deregistration_delay_s, len(prediction.stops())
    return f"{delay:g} s" if waves == 1 else f"{waves} times {delay:g} s"


def _close_calls(prediction: Prediction) -> Iterator[str]:
    """All old tasks go at the trigger, and the new ones are a matter of seconds."""
    left, up = prediction.span(OBEYED), prediction.span(HEALTHY)
    if prediction.floor == 0 and not prediction.gaps_s and left and up and left[0] < up[1]:
        yield (
            f"The floor is 0: the old tasks may be left {spread(left)} after the trigger, and the first new one may be"
            f" healthy only at {spread(up)}; in between nothing would answer."
        )


def _at(span: Range | None) -> str:
    return "at a time that nothing predicts" if span is None else between(span)


def _latest(span: Range | None) -> str:
    return "a time that nothing predicts" if span is None else f"{span[1]:.1f} s at the latest"
