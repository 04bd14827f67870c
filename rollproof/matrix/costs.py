"""What a call costs, from the `usage` and `call` records of a run. Pure.

Two windows are measured before anything is done to the service: one without clients (phase "idle": health checks,
heartbeats), one with them (phase "calls").

    CPU a call = (CPU of all tasks in the calls' window - their idle rate x its length) / calls in it

and so for Redis commands; those that a script runs are counted, too. A call is any answered call of the mix: writes,
reads, increments, slow ones, and where the strategy's clients have them, activities. Latencies are those of plain
calls alone (PLAIN): how long a slow call lasts is up to who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any

from rollproof.matrix.model import Costs

PLAIN = frozenset({"set_session_value", "get_session_state", "increment"})

Record = Mapping[str, Any]


@dataclass(frozen=True)
class _Window:
    """What was used within `seconds`; None: it could not be seen."""

    begin: float
    end: float
    redis_commands: float | None
    cpu_s: float | None

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def costs_of(records: Iterable[Record]) -> Costs | None:
    """None where the run measured nothing, or nothing was answered meanwhile.

    >>> usage = lambda t, phase, event, n, cpu: {"kind": "usage", "t": t, "phase": phase, "event": event,
    ...     "redis_commands": {"get": n}, "cpu_s": {"a": cpu}}
    >>> call = lambda t: {"kind": "call", "t": t, "ok": True, "tool": "increment", "latency_s": 0.02}
    >>> costs_of([usage(0, "idle", "begin", 0, 1.0), usage(2, "idle", "end", 2, 1.1),
    ...     usage(3, "calls", "begin", 5, 2.0), *map(call, range(4, 8)), usage(8, "calls", "end", 30, 2.45)])
    Costs(calls=4, window_s=5.0, latency_median_ms=20.0, latency_p95_ms=20.0, redis_commands=5.0, cpu_ms=50.0)
    """
    kept = [record for record in records if record.get("kind") in ("usage", "call")]
    calling = _window(kept, "calls")
    if calling is None:
        return None
    calls = [x for x in kept if x["kind"] == "call" and x.get("ok") and calling.begin < x["t"] <= calling.end]
    latencies = sorted(float(x["latency_s"]) * 1000 for x in calls if x.get("tool") in PLAIN)
    if not latencies:
        return None
    idle = _window(kept, "idle")
    return Costs(
        calls=len(calls),
        window_s=round(float(calling.seconds), 1),
        latency_median_ms=round(median(latencies), 1),
        latency_p95_ms=round(percentile(latencies, 95), 1),
        redis_commands=_a_call(calling, idle, "redis_commands", len(calls)),
        cpu_ms=_a_call(calling, idle, "cpu_s", len(calls), scale=1000),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank.

    >>> percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95), percentile([7], 95), percentile([1, 2, 3, 4], 50)
    (10, 7, 2)
    """
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def _a_call(calling: _Window, idle: _Window | None, what: str, calls: int, scale: float = 1) -> float | None:
    used: float | None = getattr(calling, what)
    unused: float | None = getattr(idle, what) if idle else None
    if used is None:
        return None
    background = unused / idle.seconds * calling.seconds if idle and unused else 0.0
    return round(max(0.0, used - background) * scale / calls, 2)


def _window(records: Sequence[Record], phase: str) -> _Window | None:
    """Between the first `usage` of this phase and its last."""
    found = {x["event"]: x for x in records if x["kind"] == "usage" and x.get("phase") == phase}
    if not {"begin", "end"} <= found.keys() or found["end"]["t"] <= found["begin"]["t"]:
        return None
    used = [_risen(found["begin"].get(what), found["end"].get(what)) for what in ("redis_commands", "cpu_s")]
    return _Window(found["begin"]["t"], found["end"]["t"], *used)


def _risen(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> float | None:
    """By how much counters have risen together. One that is new began at nothing; one that is gone is left out."""
    if not after:
        return None
    return float(sum(max(0.0, value - (before or {}).get(name, 0.0)) for name, value in after.items()))
