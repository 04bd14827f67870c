"""The run's one clock: seconds since the stage started, unmoved by steps of the system's time.

Its origin is kept in the store, so that an orchestrator that was killed goes on counting where the stage is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


class StageClock:
    """`now()` counts CLOCK_MONOTONIC from `origin`; `started_at` is the UNIX time of that origin."""

    def __init__(self, started_at: float | None = None, origin: float | None = None) -> None:
        self._started_at = time.time() if started_at is None else started_at
        self._origin = time.monotonic() if origin is None else origin

    @property
    def started_at(self) -> float:
        return self._started_at

    def now(self) -> float:
        return time.monotonic() - self._origin

    def to_json(self) -> dict[str, float]:
        return {"started_at": self._started_at, "origin": self._origin, "now": self.now()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StageClock:
        """A monotonic clock begins anew with the machine. After a restart of that, the system's time tells how
        much has passed, and the stage's time never goes back behind what was saved."""
        clock, saved_now = cls(float(data["started_at"]), float(data["origin"])), float(data["now"])
        if clock.now() >= saved_now:
            return clock
        now = max(saved_now, time.time() - clock.started_at)
        return cls(clock.started_at, time.monotonic() - now)
