"""Matrices to look at: cells in few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollproof.disruptions import Disruption
from rollproof.matrix import Asked, Cell, CellResult, CellStatus, Costs, Matrix, Row
from rollproof.matrix.model import ActivityResult, FirstFailure
from rollproof.verdict.model import ActivityState

ROLLING, CRASH, REDIS = Disruption.ROLLING, Disruption.CRASH, Disruption.REDIS_RESTART

MEMORY = Row("memory", "in a task's memory", "lost", uses_redis=False)
STATELESS = Row("stateless", "nothing in a task", "survived", uses_redis=True)
COSTS = Costs(140, 10.0, 4.0, 6.7, redis_commands=2.5, cpu_ms=3.1)
FAILURE = FirstFailure(
    "s3",
    "get_session_state",
    "404/-32600 Session not found",
    "target 127.0.0.1:4001 began draining at t=18.3 s; 0.5 s later it failed with 404/-32600 Session not found",
    call_number=7,
    after_s=5.2,
)


def cell(strategy: str, disruption: Disruption = ROLLING, *, verdict: str = "pass", **facts: Any) -> CellResult:
    """Played, with three sessions that survived unless `facts` say otherwise."""
    facts = {
        "status": CellStatus.PLAYED,
        "is_proof": verdict != "unknown",
        "survived": 3,
        "calls": 30,
        "took_s": 20.0,
        **facts,
    }
    return CellResult(strategy, disruption, verdict=verdict, **facts)


def lost(strategy: str, disruption: Disruption = ROLLING, **facts: Any) -> CellResult:
    facts = {"survived": 1, "lost": 2, "failed_calls": 9, "first_failure": FAILURE, "reason": "2 of 3 lost", **facts}
    return cell(strategy, disruption, verdict="fail", **facts)


def not_applicable(strategy: str = "memory", disruption: Disruption = REDIS) -> CellResult:
    return CellResult(strategy, disruption, CellStatus.NOT_APPLICABLE, reason="this strategy has no Redis")


def failed(strategy: str, disruption: Disruption = ROLLING) -> CellResult:
    return CellResult(strategy, disruption, CellStatus.FAILED, reason="the service never became steady")


def matrix(*cells: CellResult, rows: tuple[Row, ...] = (MEMORY, STATELESS)) -> Matrix:
    """Of `rows` and whatever disruptions the cells have."""
    kinds = tuple(dict.fromkeys(found.disruption for found in cells)) or (ROLLING,)
    return Matrix(Asked("local", sessions=3, settings=("deregistration_delay_s=30",)), rows, kinds, cells)


def as_expected() -> Matrix:
    """Two rows, rolling and a restart of Redis, everything as it should be."""
    broken = {
        "resume": ActivityResult(ActivityState.FAILED, 4, 1, "405 Method Not Allowed", "another replica"),
        "roots": ActivityResult(ActivityState.OK, 2, 2),
    }
    return matrix(
        lost("memory", costs=replace(COSTS, redis_commands=None)),
        not_applicable(),
        cell("stateless", costs=COSTS, activities=broken),
        lost("stateless", REDIS, outage="away for 0.1 s; the 19 keys it held are lost (append-only: no)"),
    )


def at(strategy: str, disruption: Disruption = ROLLING) -> Cell:
    return Cell(strategy, disruption)
