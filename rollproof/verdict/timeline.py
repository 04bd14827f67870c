"""The reference timeline, step by step: what AWS is expected to do, and what the run measured.

The order and the sources are those of a rolling deployment as observed on AWS (docs/fidelity.md, TIMELINE); the
ranges come from the settings that the run really used, so a what-if is compared with itself. Those are real
seconds; a step shows them as AWS seconds (times the run's speed), except where the application's own time is
meant: nothing scales how long a server takes to stop.

A range's lower end is the timing itself. Its upper end adds what lies between cause and effect: one tick of
the scheduler, the machine's own reaction, and where a server has to come up first, its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from rollproof.verdict.model import Step, StepStatus
from rollproof.verdict.records import History, read
from rollproof.verdict.rollout import Disruption, Rollout, TaskLife, read_rollout

REACTION_S = 1.0  # from an event to its record on a busy machine; real seconds
APPLICATION_START_S = 5.0  # a server's own start, never scaled; only ever widens a range upwards
CLOCK_S = 0.1  # two points of time, each rounded and written by another task; real seconds

TRIGGERED = "triggered"
STARTED = "tasks started"
REGISTERED = "registered"
HEALTHY = "target healthy"
RUNNING = "task RUNNING"
DECIDED = "stop decided"
DEREGISTERED = "deregistered"
DRAINING = "target draining"
OBEYED = "nodes stop routing"
UNUSED = "target unused"
SIGTERM = "SIGTERM"
SIGKILL = "SIGKILL"
EXITED = "exited"
STOPPED = "STOPPED"
COMPLETED = "completed"
STEADY = "steady state"

AWS_SECONDS = "AWS s"
REAL_SECONDS = "s"


@dataclass(frozen=True)
class ReferenceStep:
    """What is expected of one step: seconds after the step `after`, in `unit`. None: nothing says.

    The slacks are those parts of the range that are the rehearsing machine's own, and no part of a prediction.
    """

    name: str
    after: str
    expected_min_s: float | None
    expected_max_s: float | None
    source: str
    unit: str = AWS_SECONDS
    is_optional: bool = False
    early_slack_s: float = 0.0
    late_slack_s: float = 0.0
    is_first_only: bool = False  # later batches wait for earlier ones: only the first is measured from `after`


def reference_steps(settings: Mapping[str, Any]) -> tuple[ReferenceStep, ...]:
    """The expectations for a run with `settings`: knob path -> value used, in real seconds, plus "speed".

    With `service.maximum_percent` 100 or less there is no room to start first, so stopping precedes
    starting (O8, O4).
    """
    ranges = _Ranges(settings)
    tick, bake = "timing.scheduler_tick_s", ("timing.running_after_registration_s", "timing.healthy_bake_s")
    stops_first = (ranges.value("service.maximum_percent") or 200.0) <= 100
    start = ("timing.deployment_start_s",)
    kill = ("task_definition.stop_timeout_s",)
    delay, visible = ("target_group.deregistration_delay_s",), "timing.drain_visible_s"
    propagation, jitter = ("timing.drain_propagation_s",), "timing.drain_propagation_jitter_s"
    check = ("timing.registration_s", "timing.first_check_spread_s", "target_group.health_check.interval_s")
    step = ranges.step
    new = [
        step(STARTED, STOPPED, (), (tick, tick), "O4, O8: the replacement starts when the drained task is gone")
        if stops_first
        else step(STARTED, TRIGGERED, start, (tick,), "O7: 10..15 s after UpdateService", is_first_only=True),
        step(REGISTERED, STARTED, ("timing.pull_stop_s",), (tick,), "O1-O7: 18..60 s after the start"),
        step(HEALTHY, REGISTERED, (), check, "ALB-UG: after one successful check; O2: 1.6..3.4 s", starts=True),
        step(RUNNING, REGISTERED, bake[:1], (tick,), "O3: 8..10 s after registration"),
    ]
    old = [
        step(DECIDED, TRIGGERED, start, (tick,), "O8: stop first, one batch at a time", is_first_only=True)
        if stops_first
        else step(DECIDED, REGISTERED, bake, (tick, tick), "O1,O4-O7: 41..72 s after registration", starts=True),
        step(DEREGISTERED, DECIDED, (), (tick,), "O1-O5, O13: 9.1..10.3 s, O7 1.6 s after the decision"),
        step(DRAINING, DEREGISTERED, (), (visible, visible), "O2: 0.1..1.4 s after the event"),
        step(
            OBEYED,
            DRAINING,
            propagation,
            (jitter,),
            "LBC#2366: ~10..20 s after draining",
            earlier=(jitter,),
            most=delay,
        ),
        step(
            UNUSED,
            DRAINING,
            delay,
            (visible,),
            "ALB-UG: the full delay; O2: 29.0..31.5 s of 30",
            earlier=(visible, visible),
        ),
        step(SIGTERM, UNUSED, (), (tick,), "O1: the next tick after it"),
        step(SIGKILL, SIGTERM, kill, (tick,), "API-ECS stopTimeout", unit=REAL_SECONDS, is_optional=True),
        step(EXITED, SIGTERM, (), (*kill, tick), "API-ECS stopTimeout: at most that", unit=REAL_SECONDS),
        step(STOPPED, EXITED, ("timing.deprovisioning_s",), (tick,), "O10: 16 s, 15..60 s in all"),
    ]
    end = [
        step(COMPLETED, EXITED, (), ("timing.deprovisioning_s", tick, tick), "O1: 12 s after the old task's exit"),
        step(STEADY, COMPLETED, (), (), "O6: 1 ms after it"),
    ]
    return (ReferenceStep(TRIGGERED, "", None, None, "UpdateService"), *(old + new if stops_first else new + old), *end)


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


class _Ranges:
    """Turns timings used (real seconds) into expected ranges; a range that lacks a timing is unknown."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._facts = read({"t": 0.0, "kind": "setting", "name": n, "value": v} for n, v in settings.items())

    def value(self, name: str) -> float | None:
        return self._facts.setting_s(name)

    def step(
        self,
        name: str,
        after: str,
        least: Sequence[str],
        more: Sequence[str],
        source: str,
        *,
        earlier: Sequence[str] = (),
        most: Sequence[str] = (),
        unit: str = AWS_SECONDS,
        starts: bool = False,
        is_optional: bool = False,
        is_first_only: bool = False,
    ) -> ReferenceStep:
        """From the sum of `least`, less `earlier`, to that sum and `more`, and never beyond `most`.

        `starts`: a server comes up meanwhile.
        """
        factor = self._facts.speed if unit == AWS_SECONDS else 1.0
        low, above, below = self._sum(least), self._sum(more), self._sum(earlier)
        slack = (REACTION_S + (APPLICATION_START_S if starts else 0.0)) * factor
        bounds: tuple[float | None, float | None] = (None, None)
        if low is not None and above is not None and below is not None:
            limit = self._sum(most) if most else None
            limit = inf if limit is None else limit
            earliest, latest = min(max(low - below, 0.0), limit), min(low + above, limit)
            bounds = ((earliest - CLOCK_S) * factor, latest * factor + slack)
        return ReferenceStep(name, after, *bounds, source, unit, is_optional, CLOCK_S * factor, slack, is_first_only)

    def _sum(self, names: Sequence[str]) -> float | None:
        values = [self.value(name) for name in names]
        return None if None in values else sum(value for value in values if value is not None)
