"""What a call costs, from the `usage` records of a run. Pure.

Two windows are measured before anything is done to the service: one without clients (phase "idle": health checks,
heartbeats), one with sessions that write, increment and read (phase "calls").

    CPU a call = (CPU of all tasks in the calls' window - their idle rate x its length) / calls in it

and so for Redis commands; those that a script runs are counted, too. What a session costs while it says nothing (an
open stream) is in it, shared out among the calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

from rollproof.matrix.model import Costs

Record = Mapping[str, Any]


@dataclass(frozen=True)
class _Window:
    """What was used within `seconds`; None: it could not be seen."""

    begin: float
    end: float
    redis_commands: float | None
    cpu_s: float | None
    calls: int
    latencies_s: Sequence[float]

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def costs_of(records: Iterable[Record]) -> Costs | None:
    """None where the run measured nothing, or nothing was answered meanwhile.

    >>> usage = lambda t, phase, event, n, cpu, **calls: {"kind": "usage", "t": t, "phase": phase, "event": event,
    ...     "redis_commands": {"get": n}, "cpu_s": {"a": cpu}, **calls}
    >>> costs_of([usage(0, "idle", "begin", 0, 1.0), usage(2, "idle", "end", 2, 1.1),
    ...     usage(3, "calls", "begin", 5, 2.0), usage(8, "calls", "end", 30, 2.45, calls=4, latencies_s=[0.02] * 4)])
    Costs(calls=4, window_s=5.0, latency_median_ms=20.0, latency_p95_ms=20.0, redis_commands=5.0, cpu_ms=50.0)
    """
    kept = [record for record in records if record.get("kind") == "usage"]
    calling, idle = _window(kept, "calls"), _window(kept, "idle")
    if calling is None or not calling.latencies_s:
        return None
    latencies = sorted(seconds * 1000 for seconds in calling.latencies_s)
    return Costs(
        calls=calling.calls,
        window_s=round(float(calling.seconds), 1),
        latency_median_ms=round(median(latencies), 1),
        latency_p95_ms=round(percentile(latencies, 95), 1),
        redis_commands=_a_call(calling, idle, "redis_commands"),
        cpu_ms=_a_call(calling, idle, "cpu_s", scale=1000),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank.

    >>> percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95), percentile([7], 95), percentile([1, 2, 3, 4], 50)
    (10, 7, 2)
    """
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def _a_call(calling: _Window, idle: _Window | None, what: str, scale: float = 1) -> float | None:
    used: float | None = getattr(calling, what)
    unused: float | None = getattr(idle, what) if idle else None
    if used is None:
        return None
    background = unused / idle.seconds * calling.seconds if idle and unused else 0.0
    return round(max(0.0, used - background) * scale / calling.calls, 2)


def _window(records: Sequence[Record], phase: str) -> _Window | None:
    """Between the first `usage` of this phase and its last."""
    found = {x["event"]: x for x in records if x["kind"] == "usage" and x.get("phase") == phase}
    if not {"begin", "end"} <= found.keys() or found["end"]["t"] <= found["begin"]["t"]:
        return None
    begin, end = found["begin"], found["end"]
    return _Window(
        begin["t"],
        end["t"],
        _risen(begin.get("redis_commands"), end.get("redis_commands")),
        _risen(begin.get("cpu_s"), end.get("cpu_s")),
        end.get("calls", 0),
        end.get("latencies_s", ()),
    )


def _risen(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> float | None:
    """By how much counters have risen together. One that is new began at nothing; one that is gone is left out."""
    if not after:
        return None
    return float(sum(max(0.0, value - (before or {}).get(name, 0.0)) for name, value in after.items()))
