"""The reference timeline: what AWS is expected to do, step by step, and how long after the step before.

The order and the sources are those of a rolling deployment as observed on AWS (docs/fidelity.md, TIMELINE); the
ranges come from the settings that a run really used, so a what-if is compared with itself. Those are real
seconds; a step shows them as AWS seconds (times the run's speed), except where the application's own time is
meant: nothing scales how long a server takes to stop.

A range's lower end is the timing itself. Its upper end adds what lies between cause and effect: one tick of
the scheduler, the machine's own reaction, and where a server has to come up first, its start.

Some steps have two causes. The first tasks start at the trigger, later ones when a drained task has made room; old
tasks may be stopped at the trigger where the floor leaves some to spare, else when new ones are healthy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollproof.core.deployment import maximum_total, minimum_healthy
from rollproof.verdict.records import as_flag
from rollproof.verdict.steps import (
    CHECK,
    COMPLETED,
    DECIDED,
    DEPLOYMENT_START,
    DEREGISTERED,
    DRAINING,
    EXITED,
    HEALTHY,
    OBEYED,
    REAL_SECONDS,
    REGISTERED,
    RUNNING,
    RUNNING_AFTER,
    SIGKILL,
    SIGTERM,
    STARTED,
    STEADY,
    STOPPED,
    TICK,
    TRIGGERED,
    UNUSED,
    Ranges,
    ReferenceStep,
)


@dataclass(frozen=True)
class Reference:
    """All that a rollout may consist of. `starts` and `stops` by the step that they follow."""

    starts: Mapping[str, tuple[ReferenceStep, ...]]
    stops: Mapping[str, tuple[ReferenceStep, ...]]
    ends: Mapping[str, ReferenceStep]  # completed, by what it waits for
    steady: ReferenceStep
    ready: str  # after which step of new tasks old ones are stopped
    begins_with_starts: bool
    begins_with_stops: bool

    @property
    def steps(self) -> tuple[ReferenceStep, ...]:
        """Those that a run is compared with: its first batch in order, from the trigger to the steady state."""
        stops_only = self.begins_with_stops and not self.begins_with_starts
        new = self.starts[STOPPED if stops_only else TRIGGERED]
        old = self.stops[TRIGGERED if self.begins_with_stops else self.ready]
        waits_for = self.ready if stops_only or (self.begins_with_stops and self._is_ready_last(new, old)) else EXITED
        trigger = ReferenceStep(TRIGGERED, "", None, None, "UpdateService")
        return (trigger, *(old + new if stops_only else new + old), self.ends[waits_for], self.steady)

    def _is_ready_last(self, new: Sequence[ReferenceStep], old: Sequence[ReferenceStep]) -> bool:
        """Where both begin at the trigger: the new tasks take longer to be healthy than the old ones to be gone."""
        up = _least_s(new, self.ready) + (self.ends[self.ready].expected_min_s or 0.0)
        return up > _least_s(old, EXITED)


def reference_steps(settings: Mapping[str, Any]) -> tuple[ReferenceStep, ...]:
    """The expectations for a run with `settings`: knob path -> value used, in real seconds, plus "speed"."""
    return reference_of(settings).steps


def reference_of(settings: Mapping[str, Any]) -> Reference:
    """The same with every cause that a step may have.

    Old tasks are stopped at the trigger where the floor is below the desired count, new ones started where the
    ceiling is above it (O3, O7, O8). 2 tasks: 100/200 starts, 50/100 stops, 50/200 does both.
    """
    ranges = Ranges(settings)
    desired, low, high = (
        None if value is None else int(value)
        for value in map(
            ranges.value, ("service.desired_count", "service.minimum_healthy_percent", "service.maximum_percent")
        )
    )
    ceiling_is_above = (high or 200) > 100 if desired is None else maximum_total(desired, high or 200) > desired
    floor_is_below = desired is not None and low is not None and minimum_healthy(desired, low) < desired
    has_load_balancer = "service.has_load_balancer" not in settings or as_flag(settings["service.has_load_balancer"])
    ready = REGISTERED if has_load_balancer else RUNNING
    return Reference(
        starts={after: _starts(ranges, after, has_load_balancer) for after in (TRIGGERED, STOPPED)},
        stops={after: _stops(ranges, after, has_load_balancer) for after in (TRIGGERED, ready)},
        ends=_ends(ranges, ready),
        steady=ranges.step(STEADY, COMPLETED, (), (), "O6: 1 ms after it"),
        ready=ready,
        begins_with_starts=ceiling_is_above,
        begins_with_stops=floor_is_below or not ceiling_is_above,
    )


def _starts(ranges: Ranges, after: str, has_load_balancer: bool) -> tuple[ReferenceStep, ...]:
    """New tasks. Without a load balancer they are RUNNING some seconds after the pull (O12)."""
    step = ranges.step
    started = (
        step(STARTED, TRIGGERED, (DEPLOYMENT_START,), (TICK,), "O7: 10..15 s after UpdateService", is_first_only=True)
        if after == TRIGGERED
        else step(STARTED, STOPPED, (), (TICK, TICK), "O4, O8: the replacement starts when the drained task is gone")
    )
    if not has_load_balancer:
        pulled = ("timing.pull_stop_s", "timing.running_after_pull_s")
        return started, step(RUNNING, STARTED, pulled, (TICK,), "O12: 19.5..23.7 s after the start", starts=True)
    return (
        started,
        step(REGISTERED, STARTED, ("timing.pull_stop_s",), (TICK,), "O1-O7: 18..60 s after the start"),
        step(HEALTHY, REGISTERED, (), CHECK, "ALB-UG: after one successful check; O2: 1.6..3.4 s", starts=True),
        step(RUNNING, REGISTERED, (RUNNING_AFTER,), (TICK,), "O3: 8..10 s after registration"),
    )


def _stops(ranges: Ranges, after: str, has_load_balancer: bool) -> tuple[ReferenceStep, ...]:
    """Old tasks, from the decision to STOPPED."""
    step = ranges.step
    kill = ("task_definition.stop_timeout_s",)
    decided = (
        step(
            DECIDED, TRIGGERED, (DEPLOYMENT_START,), (TICK,), "O8: stop first, one batch at a time", is_first_only=True
        )
        if after == TRIGGERED
        else ranges.ready(DECIDED, after)
    )
    signal = "O1: the next tick after it" if has_load_balancer else "no target to drain; the next tick [inferred]"
    return (
        decided,
        *(_drains(ranges) if has_load_balancer else ()),
        step(SIGTERM, UNUSED if has_load_balancer else DECIDED, (), (TICK,), signal),
        step(SIGKILL, SIGTERM, kill, (TICK,), "API-ECS stopTimeout", unit=REAL_SECONDS, is_optional=True),
        step(EXITED, SIGTERM, (), (*kill, TICK), "API-ECS stopTimeout: at most that", unit=REAL_SECONDS),
        step(STOPPED, EXITED, ("timing.deprovisioning_s",), (TICK,), "O10: 16 s, 15..60 s in all"),
    )


def _drains(ranges: Ranges) -> tuple[ReferenceStep, ...]:
    step = ranges.step
    delay, visible = ("target_group.deregistration_delay_s",), "timing.drain_visible_s"
    lag, jitter = ("timing.drain_propagation_s",), ("timing.drain_propagation_jitter_s",)
    obeyed, unused = "LBC#2366: ~10..20 s after draining", "ALB-UG: the full delay; O2: 29.0..31.5 s of 30"
    return (
        step(DEREGISTERED, DECIDED, (), (TICK,), "O1-O5, O13: 9.1..10.3 s, O7 1.6 s after the decision"),
        step(DRAINING, DEREGISTERED, (), (visible, visible), "O2: 0.1..1.4 s after the event"),
        step(OBEYED, DRAINING, lag, jitter, obeyed, earlier=jitter, most=delay),
        step(UNUSED, DRAINING, delay, (visible,), unused, earlier=(visible, visible)),
    )


def _ends(ranges: Ranges, ready: str) -> Mapping[str, ReferenceStep]:
    """COMPLETED waits for both: the last old task is gone, and the last new one has been healthy long enough."""
    gone = "O1: 12 s after the old task's exit"
    return {
        TRIGGERED: ranges.step(COMPLETED, TRIGGERED, (), (DEPLOYMENT_START, TICK), "nothing to replace [inferred]"),
        EXITED: ranges.step(COMPLETED, EXITED, (), ("timing.deprovisioning_s", TICK, TICK), gone),
        ready: ranges.ready(COMPLETED, ready),
    }


def _least_s(steps: Sequence[ReferenceStep], last: str) -> float:
    """The sum of the least that the steps up to `last` take, each after the one before it."""
    by_name, total, name = {step.name: step for step in steps}, 0.0, last
    while (step := by_name.get(name)) is not None:
        total, name = total + (step.expected_min_s or 0.0), step.after
    return total
