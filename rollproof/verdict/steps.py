"""The steps of a rollout by name, and how a step's range is made from the timings that a run has used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from rollproof.verdict.records import read

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

_DOCUMENTED = re.compile(r"\b(ALB-UG|API-E\w+|ECS-DG)")
_OBSERVED = re.compile(r"\b(O\d+|LBC#\d+)")


TICK, RUNNING_AFTER = "timing.scheduler_tick_s", "timing.running_after_registration_s"
DEPLOYMENT_START = "timing.deployment_start_s"
CHECK = ("timing.registration_s", "timing.first_check_spread_s", "target_group.health_check.interval_s")


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

    @property
    def mark(self) -> str:
        """`doc`, `observed`, both, or `inferred`: what kind of source it has."""
        found = [("doc", _DOCUMENTED), ("observed", _OBSERVED)]
        return ", ".join(mark for mark, keys in found if keys.search(self.source)) or "inferred"


class Ranges:
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
        low, above, below = self._sum(least), self._sum(more), self._sum(earlier)
        bounds: tuple[float, float] | None = None
        if low is not None and above is not None and below is not None:
            limit = self._sum(most) if most else None
            limit = inf if limit is None else limit
            bounds = (min(max(low - below, 0.0), limit), min(low + above, limit))
        return self._bounded(name, after, bounds, source, unit, starts, is_optional, is_first_only)

    def ready(self, name: str, after: str) -> ReferenceStep:
        """From a new task's `after` (registered, or RUNNING without a load balancer) until it counts as healthy.

        All of: 40 s of RUNNING; its first health check; and where the container has a check of its own, one interval
        of that from its start, which is up to a tick before the registration. Without a load balancer that check stands
        in for the 40 s.
        """
        tick, interval = self.value(TICK), self.value("task_definition.health_check.interval_s")
        container = (0.0, 0.0)
        if interval is not None and tick is not None:
            timeout = self.value("task_definition.health_check.timeout_s") or 0.0
            before = self.value("timing.running_after_pull_s") or 0.0 if after == RUNNING else 0.0
            container = (max(0.0, interval - tick - before), interval + timeout)
        if after == REGISTERED:
            waits = [self._sum((RUNNING_AFTER, "timing.healthy_bake_s")), self._sum(CHECK)]
            source = "O1,O4-O7: 41..72 s after registration"
        else:
            waits = [0.0 if interval is not None else self._sum(("timing.healthy_bake_s",)), 0.0]
            source = "API-ECS minimumHealthyPercent: 40 s of RUNNING, or its own check"
        running, checked = waits
        bounds = None
        if running is not None and tick is not None:
            latest = max(running, checked or 0.0, container[1]) + 2 * tick
            bounds = (max(running, container[0]), latest)
        return self._bounded(name, after, bounds, source, AWS_SECONDS, starts=True)

    def _bounded(
        self,
        name: str,
        after: str,
        bounds: tuple[float, float] | None,
        source: str,
        unit: str,
        starts: bool = False,
        is_optional: bool = False,
        is_first_only: bool = False,
    ) -> ReferenceStep:
        """Real seconds turned into `unit`, the rehearsing machine's slack added."""
        factor = self._facts.speed if unit == AWS_SECONDS else 1.0
        early, late = CLOCK_S * factor, (REACTION_S + (APPLICATION_START_S if starts else 0.0)) * factor
        low = None if bounds is None else bounds[0] * factor - early
        high = None if bounds is None else bounds[1] * factor + late
        return ReferenceStep(name, after, low, high, source, unit, is_optional, early, late, is_first_only)

    def _sum(self, names: Sequence[str]) -> float | None:
        values = [self.value(name) for name in names]
        return None if None in values else sum(value for value in values if value is not None)
