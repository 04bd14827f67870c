"""The verdict on planned faults: named where a call failed of one, and proof where sessions called on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import Outcome, SessionOutcome, judge
from tests.verdict.stories import ANNA, BERT, NOT_FOUND, WRITE, Tale, rolled_back


def faulty(name: str, target: str, t: float = 30.0, ends: float | None = None, **more: Any) -> Tale:
    tale = Tale().settings(disruption="fault", disruption_name="none").warmed_up()
    tale.add("fault", t, name=name, target=target, fault=1, plan=f"{name} at {t:g} s", **more)
    if ends is not None:
        tale.add("mark", ends, name="fault-ended", detail=f"{name} {target}", fault=1)
    return tale.talk("s1", 5.0, t, ANNA).talk("s2", 6.0, 90.0, BERT).mark(91.0, "steady").mark(92.0, "probe-ended")


def fails(tale: Tale, t: float, **fields: Any) -> Tale:
    return tale.call("s1", 6, WRITE, t, **{"ok": False, "http_status": None, "error": "", **fields})


TIMEOUT = {"signature": "timeout", "started_t": 31.0}
GONE = {"http_status": 404, "rpc_error": NOT_FOUND}


@pytest.mark.parametrize(
    ("name", "target", "failure", "begins"),
    [
        ("hang", ANNA, TIMEOUT, "task a1a1a1a1 hung at t=30.0 s; 5.0 s later call 6"),
        (
            "network-cut",
            ANNA,
            TIMEOUT,
            "the network between the load balancer and task a1a1a1a1 was cut at t=30.0 s; 5.0",
        ),
        ("slow-responses", ANNA, TIMEOUT, "task a1a1a1a1 answered late at t=30.0 s; 5.0 s later call 6"),
        ("redis-down", "redis", {"http_status": 503}, "Redis went away at t=30.0 s; 5.0 s later call 6"),
        ("redis-flush", "redis", GONE, "Redis forgot all it held at t=30.0 s; 5.0 s later call 6"),
        ("cookie-loss", "s1", GONE, "s1 lost its cookies at t=30.0 s; 5.0 s later call 6"),
    ],
)
def test_a_call_that_failed_of_a_fault_says_so(name: str, target: str, failure: dict[str, Any], begins: str) -> None:
    session = judge(fails(faulty(name, target), 35.0, **failure).records).sessions[0]
    assert session.cause.startswith(begins)


@pytest.mark.parametrize(
    ("name", "target", "failure"),
    [
        pytest.param("hang", BERT, TIMEOUT, id="another_task"),
        pytest.param("hang", ANNA, GONE, id="an_answer_came"),
        pytest.param("cookie-loss", "s2", GONE, id="another_session"),
        pytest.param("orchestrator-crash", "service", GONE, id="nothing_between_client_and_server"),
    ],
)
def test_a_fault_that_cannot_have_been_it_is_not_blamed(name: str, target: str, failure: dict[str, Any]) -> None:
    session = judge(fails(faulty(name, target), 35.0, **failure).records).sessions[0]
    assert "does not explain it" in session.cause


def test_before_it_began_and_after_it_ended_it_explains_nothing() -> None:
    early = fails(faulty("redis-down", "redis", t=40.0), 35.0, http_status=503)
    late = fails(faulty("redis-slow", "redis", ends=33.0), 35.0, http_status=503)
    over = fails(faulty("hang", ANNA, ends=33.0), 35.0, signature="timeout", started_t=34.0)
    assert all("does not explain it" in judge(tale.records).sessions[0].cause for tale in (early, late, over))


def test_what_a_redis_forgot_stays_forgotten_when_it_is_back() -> None:
    tale = fails(faulty("redis-down", "redis", ends=33.0, detail="forgets=yes"), 60.0, **GONE)
    assert judge(tale.records).sessions[0].cause.startswith("Redis went away at t=30.0 s; 30.0 s later")


def test_what_the_service_made_of_it_is_told_after_the_fault() -> None:
    tale = faulty("health-flap", ANNA).target(ANNA, 60.0, "unhealthy", reason="Target.ResponseCodeMismatch")
    tale.target(ANNA, 90.0, "draining")
    cause = judge(fails(tale, 65.0, **GONE, started_t=64.9).records).sessions[0].cause
    assert cause == (
        "task a1a1a1a1 failed health checks now and then at t=30.0 s; target 127.0.0.1:4001 (task a1a1a1a1) turned"
        " unhealthy at t=60.0 s; 5.0 s later call 6 set_session_value failed with 404 / -32600 Session not found"
    )


def test_a_deployments_own_draining_is_nobodys_fault() -> None:
    tale = Tale().replaced().talk("s1", 5.0, 120.0, ANNA).not_found("s1", 24, WRITE, 129.1)
    tale.add("fault", 50.0, name="hang", target=ANNA, fault=1, plan="hang at 50 s").mark(180.0, "probe-ended")
    assert judge(tale.records).sessions[0].cause.startswith("target 127.0.0.1:4001 (task a1a1a1a1) began draining")


def test_a_session_that_left_with_the_last_node_left_late_for_its_lag() -> None:
    def tale(fails_at: float) -> Tale:
        tale = Tale().replaced().talk("s1", 5.0, 120.0, ANNA).not_found("s1", 24, WRITE, fails_at)
        tale.add("fault", 20.0, name="node-lag", target="node-1", fault=1, plan="node-lag at 20 s")
        return tale.mark(180.0, "probe-ended")

    late = judge(tale(129.1).records).sessions[0].cause
    assert late.startswith(
        "node-1 began to lag behind at t=20.0 s; target 127.0.0.1:4001 (task a1a1a1a1) began draining"
    )
    early = judge(tale(126.0).records).sessions[0].cause
    assert early.startswith("target 127.0.0.1:4001 (task a1a1a1a1) began draining")


def test_a_deployment_that_failed_of_a_fault_names_it() -> None:
    tale = rolled_back("deployment").add("fault", 20.0, name="slow-start", target="service", fault=1)
    assert "the deployment failed (faults meanwhile: slow-start)" in judge(tale.records).why


def test_a_fault_that_takes_no_task_proves_something_when_sessions_called_on_both_sides() -> None:
    verdict = judge(faulty("redis-slow", "redis", ends=60.0).records)
    assert verdict.outcome is Outcome.PASS
    assert verdict.why == "redis-slow and 0 tasks replaced: 2 of 2 sessions survived, 0 of 44 calls failed"
    none = judge(faulty("redis-slow", "redis", t=1.0, ends=2.0).records)
    assert (none.outcome, none.why) == (Outcome.UNKNOWN, "no session called both before the faults and after them")


def test_a_crash_that_took_nothing_proves_nothing() -> None:
    verdict = judge(faulty("crash", ANNA).records)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why.startswith("no task was replaced")


def test_one_that_was_not_played_is_a_gap_even_where_another_was() -> None:
    tale = faulty("redis-slow", "redis", ends=60.0).add("mark", 91.0, name="fault-not-played", detail="hang at steady")
    verdict = judge(tale.records)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why == "a fault was not played, for its moment did not come: hang at steady"


def interrupted(signalled: float, **settings: Any) -> Tale:
    """ANNA's capacity goes back to Spot at 30 s; her target drains from 32 s on, for 300 s."""
    tale = Tale().settings(
        disruption="fault", timing__spot_warning_s=120.0, target_group__deregistration_delay_s=300.0, **settings
    )
    tale.warmed_up().add("fault", 30.0, name="spot-interruption", target=ANNA, fault=1)
    tale.task(ANNA, 30.0, "DEACTIVATING", "STOPPED", stop_code="SpotInterruption")
    tale.target(ANNA, 32.0, "draining", draining_until=332.0)
    tale.task(ANNA, signalled, "STOPPING", "STOPPED", signal="SIGTERM", stop_code="SpotInterruption")
    return tale.mark(400.0, "probe-ended")


@pytest.mark.parametrize(("signalled", "outcome"), [(120.0, Outcome.PASS), (110.0, Outcome.FAIL)])
def test_spots_two_minutes_come_before_the_delay_and_no_earlier(signalled: float, outcome: Outcome) -> None:
    """The stop timeout is 30 s: SIGTERM is due 90 s after the interruption."""
    checks = {check.id: check.outcome for check in judge(interrupted(signalled).records).checks}
    assert checks["sigterm-after-drain"] is outcome


def test_where_spot_does_not_drain_sigterm_comes_when_it_likes() -> None:
    tale = interrupted(30.0).add("setting", 0.0, name="behaviour.spot_drains", value=False)
    checks = {check.id: check.outcome for check in judge(tale.records).checks}
    assert checks["sigterm-after-drain"] is Outcome.UNKNOWN


def test_the_timeline_around_the_break_names_a_faults_end() -> None:
    tale = fails(faulty("network-cut", ANNA, ends=33.0), 35.0, **TIMEOUT)
    verdict = judge(tale.records)
    assert verdict.sessions[0].outcome is SessionOutcome.LOST
    told = [line.text for line in verdict.around_break]
    assert "fault: network-cut a1a1a1a1" in told
    assert "the play: fault-ended: network-cut a1a1a1a1" in told
