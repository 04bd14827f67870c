"""Settings -> prediction: the waves of a rolling deployment, each step's range, and one simulated run beside them.

The ranges are sums of the reference's steps (verdict/reference.py), which a report compares a run with; which wave
waits for which is read off one run of the core in virtual time. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, inf
from typing import Any

from rollproof.core.deployment import maximum_total, minimum_healthy
from rollproof.core.knob_table import KNOBS
from rollproof.core.knob_values import get_knob
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.waiters import WAITERS
from rollproof.prediction.alone import Containers, Played, play_alone
from rollproof.verdict.cliff import leaves_with
from rollproof.verdict.reference import Reference, reference_of
from rollproof.verdict.rollout import TaskLife
from rollproof.verdict.steps import (
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
    STOPPED,
    UNUSED,
)
from rollproof.verdict.waves import Range, Wave, WaveKind, completed_range, stable_range, wave_ranges, waves_of

_WAITER = WAITERS["services-stable"]
"""It asks at once, and then every so many seconds."""

SAME_INSTANT_S = 1e-6
"""Sums of floats that mean the same instant differ by less."""

WAITER_GIVES_UP_S = _WAITER.every_s * (_WAITER.tries - 1)
STABLE = "services-stable returns"


@dataclass(frozen=True)
class Moment:
    """One step: AWS seconds after UpdateService. `simulated_s` has one value a task, or a task and node."""

    name: str
    after: str
    earliest_s: float | None
    latest_s: float | None
    simulated_s: tuple[float, ...]
    source: str
    mark: str


@dataclass(frozen=True)
class PredictedWave:
    """Tasks that start, or are stopped, in one pass. `follows`: the number of the wave it waits for, 0: the trigger."""

    number: int
    kind: WaveKind
    tasks: int
    after: str
    follows: int
    moments: tuple[Moment, ...]

    def moment(self, name: str) -> Moment | None:
        return next((moment for moment in self.moments if moment.name == name), None)


@dataclass(frozen=True)
class Prediction:
    """`moves_with` is the step with which sessions move; `gaps_s` are spans of the simulated run in which no target
    was there for new requests. A stuck deployment has no end."""

    settings: Settings
    timing: Timing
    floor: int
    ceiling: int
    is_stuck: bool
    waves: tuple[PredictedWave, ...]
    completed: Moment | None
    stable: Moment | None
    moves_with: str
    gaps_s: tuple[Range, ...] = ()

    def stops(self) -> tuple[PredictedWave, ...]:
        return tuple(wave for wave in self.waves if wave.kind is WaveKind.STOPS)

    def span(self, name: str) -> Range | None:
        """The step's earliest and latest over all waves; None where nothing predicts it."""
        found = [moment for wave in self.waves if (moment := wave.moment(name)) is not None]
        lows = [moment.earliest_s for moment in found if moment.earliest_s is not None]
        highs = [moment.latest_s for moment in found if moment.latest_s is not None]
        return (min(lows), max(highs)) if lows and highs else None


def predict_rollout(
    settings: Settings, timing: Timing, *, seed: int = 1, containers: Containers | None = None
) -> Prediction:
    """A forced new deployment of a healthy service. `settings` and `timing` are AWS's own, unscaled, of ECS."""
    facts = facts_of(settings, timing)
    reference = reference_of(facts)
    played = play_alone(settings, timing, seed=seed, containers=containers)
    waves = waves_of(played.old, played.new, reference)
    ranges = wave_ranges(waves, reference)
    ends = None if played.is_stuck else _ends(played, waves, ranges, reference, timing)
    service = settings.service
    return Prediction(
        settings,
        timing,
        floor=minimum_healthy(service.desired_count, service.minimum_healthy_percent),
        ceiling=maximum_total(service.desired_count, service.maximum_percent),
        is_stuck=played.is_stuck,
        waves=tuple(
            _told(number, wave, span, reference, played)
            for number, (wave, span) in enumerate(zip(waves, ranges, strict=True), 1)
        ),
        completed=ends[0] if ends else None,
        stable=ends[1] if ends else None,
        moves_with=leaves_with(facts) if service.has_load_balancer else SIGTERM,
        gaps_s=_gaps(played) if service.has_load_balancer else (),
    )


def facts_of(settings: Settings, timing: Timing) -> Mapping[str, Any]:
    """Knob path -> value, as a history's settings have them at speed 1."""
    knobs = {knob.path: get_knob(settings, knob) for knob in KNOBS}
    return knobs | {f"timing.{x.name}": getattr(timing, x.name) for x in fields(timing)}


def _told(number: int, wave: Wave, span: Mapping[str, Range], reference: Reference, played: Played) -> PredictedWave:
    steps = (reference.starts if wave.kind is WaveKind.STARTS else reference.stops).get(wave.after, ())
    moments = tuple(
        Moment(
            step.name,
            step.after,
            low,
            high,
            tuple(t for life in wave.lives for t in points(life, step.name, played)),
            step.source,
            step.mark,
        )
        for step in steps
        for low, high in (span.get(step.name, (None, None)),)
    )
    follows = 0 if wave.of is None else wave.of + 1
    return PredictedWave(number, wave.kind, len(wave.lives), wave.after, follows, moments)


def points(life: TaskLife, name: str, played: Played) -> tuple[float, ...]:
    """When a task came to a step, once a node for what each node learns by itself."""
    if name == OBEYED:
        return played.learned.get(life.task_id, ())
    at = {
        STARTED: life.first_seen_at,
        REGISTERED: life.registered_at,
        HEALTHY: life.healthy_at,
        RUNNING: life.running_at,
        DECIDED: life.decided_at,
        DEREGISTERED: life.deregistered_at,
        DRAINING: life.draining_at,
        UNUSED: life.unused_at,
        SIGTERM: life.sigterm_at,
        SIGKILL: life.sigkill_at,
        EXITED: life.exited_at,
        STOPPED: life.stopped_at,
    }[name]
    return () if at is None else (at,)


def _ends(
    played: Played,
    waves: Sequence[Wave],
    ranges: Sequence[Mapping[str, Range]],
    reference: Reference,
    timing: Timing,
) -> tuple[Moment, Moment]:
    """COMPLETED, and the return of `aws ecs wait services-stable` that was called right after UpdateService."""
    low, high = completed_range(waves, ranges, reference) or (None, None)
    done = () if played.completed_at is None else (played.completed_at,)
    source = "the old tasks are gone and the new ones healthy: API-ECS DeploymentEarlySuccessCriteria; O1, O6"
    completed = Moment(COMPLETED, "", low, high, done, source, "doc, observed")
    stable = stable_range(waves, ranges, reference, timing.scheduler_tick_s)
    returned = () if played.stable_at is None else (poll_after(played.stable_at),)
    return completed, Moment(
        STABLE,
        COMPLETED,
        None if stable is None else poll_after(stable[0]),
        None if stable is None else poll_after(stable[1]),
        tuple(t for t in returned if t < inf),
        f"ServicesStable polls every {_WAITER.every_s:g} s, {_WAITER.tries} times",
        "doc",
    )


def poll_after(at: float) -> float:
    """The waiter's first poll from `at` on; inf where it has given up. 422 s: 435 s."""
    poll = ceil((at - SAME_INSTANT_S) / _WAITER.every_s) * _WAITER.every_s
    return poll if poll <= WAITER_GIVES_UP_S else inf


def _gaps(played: Played) -> tuple[Range, ...]:
    """Spans in which every node has left all old targets, and no new one is healthy yet."""
    ends = [inf if life.obeyed_at is None else life.obeyed_at for life in played.old]
    fresh = [life.healthy_at for life in played.new if life.healthy_at is not None]
    last, first = max(ends, default=inf), min(fresh, default=inf)
    return ((last, first),) if last < first < inf else ()
