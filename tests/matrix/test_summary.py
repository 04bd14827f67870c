"""Runs, summed up as cells: stories of the verdict's own tests."""

from __future__ import annotations

from dataclasses import replace

from rollproof.matrix import CellStatus, Fate
from rollproof.matrix.model import ActivityResult
from rollproof.matrix.summary import activities, summarise
from rollproof.verdict import judge
from rollproof.verdict.model import ActivityState, ActivityVerdict, Check, FailedCall, Outcome, Verdict
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


def test_activities_are_kept_by_name() -> None:
    failure = FailedCall(31.0, "s1", 4, "confirm", "hang")
    verdict = Verdict(
        Outcome.FAIL,
        "elicitation broken",
        activities=(
            ActivityVerdict(
                "elicitation",
                "legacy",
                ActivityState.FAILED,
                4,
                1,
                first_failure=failure,
                cause="the reply went astray",
            ),
            ActivityVerdict("roots", "modern", ActivityState.OK, 4, 4, name="roots (modern)"),
        ),
    )
    found = activities(verdict)
    assert found == {
        "elicitation": ActivityResult(ActivityState.FAILED, 4, 1, "hang", "the reply went astray"),
        "roots (modern)": ActivityResult(ActivityState.OK, 4, 4),
    }


def test_a_run_that_breaks_a_rule_of_aws_proves_nothing() -> None:
    records = stories.survived().records
    verdict = judge(records)
    broken = replace(verdict, outcome=Outcome.FAIL, checks=(Check("x", "x", Outcome.FAIL, "too early"),))
    assert summarise(at("stateless"), broken, records).fate is Fate.UNPROVED
    assert summarise(at("stateless"), replace(verdict, outcome=Outcome.FAIL), records).fate is Fate.SURVIVED
    assert summarise(at("stateless"), replace(verdict, outcome=Outcome.UNKNOWN), records).fate is Fate.UNPROVED
