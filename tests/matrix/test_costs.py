"""What calls cost, counted by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from rollproof.matrix import costs
from rollproof.matrix.costs import costs_of


def usage(t: float, phase: str, event: str, redis: dict[str, int], cpu: dict[str, float]) -> dict[str, Any]:
    return {"kind": "usage", "t": t, "phase": phase, "event": event, "redis_commands": redis, "cpu_s": cpu}


def call(t: float, latency_s: float = 0.01, tool: str = "increment", **fields: Any) -> dict[str, Any]:
    return {"kind": "call", "t": t, "ok": True, "tool": tool, "latency_s": latency_s, **fields}


IDLE = [usage(0.0, "idle", "begin", {"get": 10}, {"a": 1.0, "b": 1.0}),
        usage(2.0, "idle", "end", {"get": 14}, {"a": 1.1, "b": 1.1})]  # fmt: skip
BEGIN = usage(10.0, "calls", "begin", {"get": 20}, {"a": 2.0, "b": 2.0})
END = usage(20.0, "calls", "end", {"get": 60, "set": 20}, {"a": 2.6, "b": 2.8})
CALLS = [call(t, latency_s=0.001 * n, tool="slow" if n == 10 else "increment") for n, t in enumerate(range(11, 21), 1)]


def test_what_the_service_uses_by_itself_is_taken_off() -> None:
    found = costs_of([*IDLE, BEGIN, *CALLS, END])
    assert found is not None
    assert (found.calls, found.window_s) == (10, 10.0)
    # Redis: 60 commands in 10 s, 2 a second idle. CPU: 1.4 s in 10 s, 0.1 s a second idle.
    assert found.redis_commands == pytest.approx((60 - 20) / 10)
    assert found.cpu_ms == pytest.approx((1.4 - 1.0) * 1000 / 10)


def test_latencies_are_those_of_plain_calls_that_were_answered_meanwhile() -> None:
    others = [call(5.0, 9.0), call(25.0, 9.0), call(12.0, 9.0, ok=False)]
    found = costs_of([*IDLE, BEGIN, *CALLS, *others, END])
    assert found is not None
    assert (found.latency_median_ms, found.latency_p95_ms) == (5.0, 9.0)


def test_without_redis_or_proc_there_are_latencies_alone() -> None:
    found = costs_of([usage(10.0, "calls", "begin", {}, {}), *CALLS, usage(20.0, "calls", "end", {}, {})])
    assert found is not None
    assert (found.redis_commands, found.cpu_ms) == (None, None)


def test_a_task_that_came_meanwhile_counts_from_nothing() -> None:
    found = costs_of([BEGIN, *CALLS, usage(20.0, "calls", "end", {}, {"b": 2.2, "c": 0.3})])
    assert found is not None
    assert found.cpu_ms == pytest.approx((0.2 + 0.3) * 1000 / 10)


@pytest.mark.parametrize("records", [[], CALLS, [BEGIN, END], [BEGIN, *CALLS], [BEGIN, call(11.0, tool="slow"), END]])
def test_nothing_measured_is_no_cost(records: list[dict[str, Any]]) -> None:
    assert costs_of(records) is None


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(costs).failed == 0
