"""What calls cost, counted by hand."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from rollproof.history import Record
from rollproof.matrix import costs
from rollproof.matrix.costs import costs_of


def usage(t: float, phase: str, event: str, redis: dict[str, int], cpu: dict[str, float], **calls: Any) -> Record:
    usage = {"kind": "usage", "t": t, "phase": phase, "event": event, "redis_commands": redis, "cpu_s": cpu}
    return {**usage, **calls}


IDLE = [usage(0.0, "idle", "begin", {"get": 10}, {"a": 1.0, "b": 1.0}),
        usage(2.0, "idle", "end", {"get": 14}, {"a": 1.1, "b": 1.1})]  # fmt: skip
BEGIN = usage(10.0, "calls", "begin", {"get": 20}, {"a": 2.0, "b": 2.0})
CALLS: dict[str, Any] = {"calls": 10, "latencies_s": [0.001 * n for n in (9, 1, 2, 3, 4, 5, 6, 7, 8)]}
END = usage(20.0, "calls", "end", {"get": 60, "set": 20}, {"a": 2.6, "b": 2.8}, **CALLS)


def test_what_the_service_uses_by_itself_is_taken_off() -> None:
    found = costs_of([*IDLE, BEGIN, END])
    assert found is not None
    assert (found.calls, found.window_s) == (10, 10.0)
    # Redis: 60 commands in 10 s, 2 a second idle. CPU: 1.4 s in 10 s, 0.1 s a second idle.
    assert found.redis_commands == pytest.approx((60 - 20) / 10)
    assert found.cpu_ms == pytest.approx((1.4 - 1.0) * 1000 / 10)


def test_latencies_are_those_of_the_calls_that_were_well() -> None:
    found = costs_of([*IDLE, BEGIN, END])
    assert found is not None
    assert (found.latency_median_ms, found.latency_p95_ms) == (5.0, 9.0)


def test_without_redis_or_proc_there_are_latencies_alone() -> None:
    found = costs_of([usage(10.0, "calls", "begin", {}, {}), usage(20.0, "calls", "end", {}, {}, **CALLS)])
    assert found is not None
    assert (found.redis_commands, found.cpu_ms) == (None, None)


def test_a_task_that_came_meanwhile_counts_from_nothing() -> None:
    found = costs_of([BEGIN, usage(20.0, "calls", "end", {}, {"b": 2.2, "c": 0.3}, **CALLS)])
    assert found is not None
    assert found.cpu_ms == pytest.approx((0.2 + 0.3) * 1000 / 10)


@pytest.mark.parametrize(
    "records",
    [
        [],
        IDLE,
        [*IDLE, BEGIN],
        [BEGIN, usage(20.0, "calls", "end", {}, {}, calls=4, latencies_s=[])],
        [BEGIN, {**END, "t": 10.0}],
        [{**END, "kind": "call"}, BEGIN],
    ],
)
def test_nothing_measured_is_no_cost(records: list[Record]) -> None:
    assert costs_of(records) is None


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(costs).failed == 0
