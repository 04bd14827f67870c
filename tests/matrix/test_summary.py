"""Runs, summed up as cells: stories of the verdict's own tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from rollproof.matrix import CellStatus, Fate
from rollproof.matrix.summary import activities, summarise
from rollproof.verdict import Verdict, judge
from tests.matrix.samples import CRASH, REDIS, at
from tests.verdict import stories


def test_a_lost_run_tells_its_first_failing_call_and_the_cause() -> None:
    records = stories.lost_at_drain().records
    found = summarise(at("memory"), judge(records), records, run="20260101T000000-memory-rolling", took_s=12.34)
    assert (found.status, found.verdict, found.fate) == (CellStatus.PLAYED, "fail", Fate.LOST)
    assert (found.survived, found.degraded, found.lost) == (0, 0, 2)
    first = found.first_failure
    assert first is not None
    assert (first.session, first.call_number, first.tool) == ("s1", 24, "get_session_state")
    assert first.signature == "404 / -32600 Session not found"
    assert "began draining at t=114.5 s" in first.cause
    assert first.after_s == 109.1  # the deployment was triggered at t=20.0 s
    assert (found.run, found.took_s) == ("20260101T000000-memory-rolling", 12.3)
    assert found.failed_calls == sum(x.failed_calls for x in judge(records).sessions) > 0


def test_a_run_without_a_failure_has_none() -> None:
    records = stories.survived().records
    found = summarise(at("stateless"), judge(records), records)
    assert (found.fate, found.first_failure, found.failed_calls, found.costs) == (Fate.SURVIVED, None, 0, None)
    assert found.survived == 2


def test_a_fault_is_what_seconds_count_from() -> None:
    records = stories.crashed().records
    found = summarise(at("stateless", CRASH), judge(records), records)
    assert (found.fate, found.degraded) == (Fate.DEGRADED, 1)
    assert found.first_failure is not None
    assert found.first_failure.after_s == 0.2


def test_an_outage_is_told_with_what_became_of_the_data() -> None:
    records = stories.redis_restarted().records
    found = summarise(at("stateless", REDIS), judge(records), records)
    assert found.outage == "away for 0.4 s; the 9 keys it held are lost (append-only: no)"
    assert found.fate is Fate.LOST


def test_activities_are_kept_by_kind() -> None:
    failure = SimpleNamespace(signature="timeout")
    verdict = SimpleNamespace(
        activities=(
            SimpleNamespace(kind="elicitation", tried=4, ok=1, first_failure=failure, cause="the reply went elsewhere"),
            SimpleNamespace(kind="roots", tried=4, ok=4, first_failure=None, cause=""),
        )
    )
    found = activities(cast("Verdict", verdict))
    assert {kind: (x.tried, x.ok, x.signature, x.cause) for kind, x in found.items()} == {
        "elicitation": (4, 1, "timeout", "the reply went elsewhere"),
        "roots": (4, 4, "", ""),
    }
