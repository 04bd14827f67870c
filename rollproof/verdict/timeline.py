"""A run beside the reference timeline: what each step was expected to take, and what it took.

A step shows AWS seconds (real ones times the run's speed), except where the application's own time is meant:
nothing scales how long a server takes to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

from rollproof.verdict.model import Step, StepStatus
from rollproof.verdict.records import History, read
from rollproof.verdict.reference import reference_steps
from rollproof.verdict.rollout import Disruption, Rollout, TaskLife, read_rollout
from rollproof.verdict.steps import (
    AWS_SECONDS,
    CLOCK_S,
    COMPLETED,
    DECIDED,
    DEREGISTERED,
    DRAINING,
    EXITED,
    HEALTHY,
    OBEYED,
    REGISTERED,
    RUNNING,
    SIGKILL,
    SIGTERM,
    STARTED,
    STEADY,
    STOPPED,
    TRIGGERED,
    UNUSED,
    ReferenceStep,
)


def compare_timeline(records: Iterable[Any], steps: Sequence[ReferenceStep] | None = None) -> list[Step]:
    """The run's steps in the reference's order. Empty where no deployment replaced a task: nothing to compare."""
    history = read(records)
    return list(compare(history, read_rollout(history), steps))


def compare(history: History, rollout: Rollout, steps: Sequence[ReferenceStep] | None = None) -> tuple[Step, ...]:
    """As compare_timeline, of facts already read."""
    if rollout.disruption is not Disruption.DEPLOYMENT or rollout.triggered_at is None or not rollout.replaced:
        return ()
    if not rollout.is_on_ecs:
        return ()  # the reference is ECS's
    points = timeline_points(history, rollout)
    steps = reference_steps(history.settings) if steps is None else steps
    return tuple(_measure(step, points, history.speed) for step in steps)


Points = Mapping[str, tuple[tuple[str, float], ...]]
"""Step name -> (task id, t) for a step of a task, ("", t) for a step of the deployment."""


def timeline_points(history: History, rollout: Rollout) -> Points:
    """When each step happened, in real seconds of the history."""
    start = rollout.triggered_at or 0.0
    drains = [e for e in history.events if start <= e.t <= rollout.over_at and "has begun draining" in e.text]
    ended = rollout.completed_at if rollout.completed_at is not None else inf
    old = [life for life in rollout.replaced if (life.leaving_at or 0.0) <= ended]
    new = [life for life in rollout.new if life.first_seen_at <= ended]

    def of(lives: Sequence[TaskLife], when: Callable[[TaskLife], float | None]) -> tuple[tuple[str, float], ...]:
        return tuple((life.task_id, t) for life in lives if (t := when(life)) is not None)

    def once(t: float | None) -> tuple[tuple[str, float], ...]:
        return () if t is None else (("", t),)

    return {
        TRIGGERED: once(rollout.triggered_at),
        STARTED: of(new, lambda life: life.first_seen_at),
        REGISTERED: of(new, lambda life: life.registered_at),
        HEALTHY: of(new, lambda life: life.healthy_at),
        RUNNING: of(new, lambda life: life.running_at),
        DECIDED: of(old, lambda life: life.decided_at),
        DEREGISTERED: tuple(("", e.t) for e in drains),
        DRAINING: of(old, lambda life: life.draining_at),
        OBEYED: of(old, lambda life: life.obeyed_at),
        UNUSED: of(old, lambda life: life.unused_at),
        SIGTERM: of(old, lambda life: life.sigterm_at),
        SIGKILL: of(old, lambda life: life.sigkill_at),
        EXITED: of(old, lambda life: life.exited_at),
        STOPPED: of(old, lambda life: life.stopped_at),
        COMPLETED: once(rollout.completed_at),
        STEADY: once(rollout.steady_at),
    }


def _measure(step: ReferenceStep, points: Points, speed: float) -> Step:
    happened = points.get(step.name, ())
    if step.is_first_only:
        happened = tuple(sorted(happened, key=lambda point: point[1])[:1])
    offsets = [_offset(task, t, points.get(step.after, ())) for task, t in happened]
    known = [offset for offset in offsets if offset is not None]
    if step.unit == AWS_SECONDS:
        known = [offset * speed for offset in known]
    return Step(
        name=step.name,
        after=step.after,
        status=_status(step, known, bool(happened)),
        expected_min_s=step.expected_min_s,
        expected_max_s=step.expected_max_s,
        measured_s=tuple(known),
        unit=step.unit,
        source=step.source,
        t=tuple(t for _, t in happened),
    )


def _offset(task: str, t: float, anchors: Sequence[tuple[str, float]]) -> float | None:
    """Seconds since the step before: the same task's where it has one, else the last that came before `t`.

    Where none came before, the first that came after: a negative offset, which shows as early.
    """
    own = [at for name, at in anchors if name == task and task]
    if own:
        return t - own[0]
    before = [at for _, at in anchors if at <= t + CLOCK_S]
    if before:
        return t - max(before)
    return t - min(at for _, at in anchors) if anchors else None


def _status(step: ReferenceStep, offsets: Sequence[float], happened: bool) -> StepStatus:
    if not happened:
        return StepStatus.NOT_NEEDED if step.is_optional else StepStatus.MISSING
    if not step.after:
        return StepStatus.OK
    if not offsets or step.expected_min_s is None or step.expected_max_s is None:
        return StepStatus.UNJUDGED
    if min(offsets) < step.expected_min_s:
        return StepStatus.EARLY
    return StepStatus.LATE if max(offsets) > step.expected_max_s else StepStatus.OK
