"""An outage of Redis, judged: no task is replaced, and that is no reason to call nothing proved."""

from __future__ import annotations

from rollproof.verdict import Outcome, SessionOutcome, judge
from tests.verdict.stories import ANNA, Tale, redis_restarted


def outage(*, comes_back: bool = True) -> Tale:
    tale = Tale().settings(disruption="outage").warmed_up().add("fault", 30.0, name="redis-restart", target="Redis 8")
    return tale.add("mark", 30.4, name="redis-back", detail="away for 0.4 s") if comes_back else tale


def test_a_session_whose_state_redis_forgot_is_lost_to_the_restart() -> None:
    verdict = judge(redis_restarted().records)
    assert verdict.outcome is Outcome.FAIL
    assert [x.session for x in verdict.of(SessionOutcome.LOST)] == ["s1"]
    lost = verdict.sessions[0]
    assert lost.cause == (
        "Redis was restarted at t=30.0 s; 2.0 s later call 6 get_session_state failed with state incomplete: 5"
        " acknowledged and gone: seq_1"
    )
    found = {x.id: x.text for x in verdict.findings}
    assert found["redis-restart"] == (
        "Redis 8 was ended at t=30.0 s and answered again at t=30.4 s: away for 0.4 s; the 9 keys it held are lost"
        " (append-only: no)."
    )
    assert "atomic-failure" not in found


def test_sessions_that_call_on_both_sides_prove_something() -> None:
    verdict = judge(outage().talk("s1", 5.0, 60.0, ANNA).mark(61.0, "probe-ended").records)
    assert verdict.outcome is Outcome.PASS
    assert verdict.why == "Redis restarted: 1 of 1 session survived, 0 of 22 calls failed"


def test_no_call_afterwards_proves_nothing() -> None:
    verdict = judge(outage().talk("s1", 5.0, 25.0, ANNA).mark(61.0, "probe-ended").records)
    assert (verdict.outcome, verdict.why) == (
        Outcome.UNKNOWN,
        "no session called both before Redis restarted and after it",
    )


def test_a_redis_that_stays_away_proves_nothing() -> None:
    verdict = judge(outage(comes_back=False).talk("s1", 5.0, 60.0, ANNA).mark(61.0, "probe-ended").records)
    assert (verdict.outcome, verdict.why) == (Outcome.UNKNOWN, "Redis was not seen to come back")


def test_a_failure_before_the_outage_is_not_blamed_on_it() -> None:
    tale = outage().talk("s1", 5.0, 60.0, ANNA).mark(61.0, "probe-ended")
    tale.call("s1", 1, "increment", 5.5, ANNA, ok=False, http_status=500, error="oops")
    assert "before Redis was restarted" in judge(tale.records).sessions[0].cause


def test_a_scaled_in_service_has_removed_its_task() -> None:
    tale = Tale().settings(disruption="fault", disruption_name="scale-in").warmed_up()
    tale.add("fault", 20.0, name="scale-in", target="desired count 1").drained(ANNA).event(
        40.0, "has reached a steady state."
    )
    tale.talk("s1", 5.0, 120.0, ANNA).talk("s1", 125.0, 180.0, "b2" * 16, first=25)
    assert judge(tale.mark(181.0, "probe-ended").records).why.startswith("1 task removed: 1 of 1 session survived")


def test_a_target_that_was_unhealthy_while_its_server_came_up_is_no_cause() -> None:
    tale = Tale().settings(disruption="fault").add("fault", 30.0, name="crash", target="b2" * 16)
    tale.task(ANNA, 1.0, "RUNNING").target(ANNA, 1.0, "unhealthy").target(ANNA, 2.0, "healthy")
    tale.talk("s1", 5.0, 60.0, ANNA).call("s1", 2, "increment", 9.0, ANNA, ok=False, http_status=500, error="oops")
    cause = judge(tale.records).sessions[0].cause
    assert "unhealthy" not in cause
    assert "does not explain it" in cause
