"""Findings: each claimed where the records bear it out, and only there."""

from __future__ import annotations

import pytest

from rollproof.verdict import Finding, judge
from tests.verdict.stories import (
    ANNA,
    BERT,
    CARL,
    DORA,
    READ,
    T0,
    WRITE,
    Tale,
    crashed,
    lost_at_drain,
    rolled_back,
    survived,
    without,
)


def finding(tale: Tale, identifier: str) -> Finding | None:
    return next((found for found in judge(tale.records).findings if found.id == identifier), None)


def text(tale: Tale, identifier: str) -> str:
    found = finding(tale, identifier)
    assert found is not None
    return found.text


# --- the published four -------------------------------------------------------------------------


def test_cookie_rotation_counts_the_rotations_on_one_task_and_names_the_real_moves() -> None:
    told = text(survived(), "cookie-rotation")
    assert (
        "6 times over 136 answered calls: 4 times on the same task, 2 on another one, 0 on answers that name no" in told
    )
    assert "s1 at t=130.0 s (a1a1a1a1 to c3c3c3c3), s2 at t=130.0 s (b2b2b2b2 to d4d4d4d4)." in told


def test_rotation_without_any_move_says_so() -> None:
    tale = Tale().replaced().talk("s1", 5.0, 60.0, ANNA).cookie("s1", 6.0, ANNA, ANNA)
    assert text(tale, "cookie-rotation").endswith("No session moved.")


@pytest.mark.parametrize(("task", "previous"), [(CARL, ANNA), ("", "")])
def test_rotation_with_a_move_or_an_unknown_task_is_no_finding(task: str, previous: str) -> None:
    assert finding(Tale().replaced().cookie("s1", 130.0, task, previous), "cookie-rotation") is None


def test_the_atomic_failure_names_its_pair() -> None:
    told = text(lost_at_drain(), "atomic-failure")
    assert told.startswith(
        "s1, call 24: set_session_value succeeded on task a1a1a1a1 at t=124.0 s; get_session_state, asked 5.0 s later,"
        " failed on task c3c3c3c3 with 404 / -32600 Session not found."
    )
    assert told.endswith("1 such pair in this run.")


@pytest.mark.parametrize(
    ("task", "where"),
    [(CARL, "failed on task c3c3c3c3 with"), (ANNA, "failed on the same task with"), ("", "failed elsewhere with")],
)
def test_the_atomic_failure_says_where_the_read_went_if_anything_does(task: str, where: str) -> None:
    tale = Tale().replaced().call("s1", 1, WRITE, 124.0, ANNA).not_found("s1", 1, READ, 129.0, task)
    assert where in text(tale, "atomic-failure")


def test_a_write_that_names_no_task_is_told_as_such() -> None:
    tale = Tale().replaced().call("s1", 1, WRITE, 124.0).not_found("s1", 1, READ, 129.0)
    assert "succeeded on a task that it does not name" in text(tale, "atomic-failure")


@pytest.mark.parametrize(
    "calls",
    [
        [("write", True), ("read", True)],
        [("write", False), ("read", False)],
        [("read", True), ("read", False)],
        [("ping", True), ("ping", False)],
    ],
)
def test_other_pairs_are_no_atomic_failure(calls: list[tuple[str, bool]]) -> None:
    tools = {"write": WRITE, "read": READ, "ping": "ping"}
    tale = Tale().replaced()
    for offset, (tool, ok) in enumerate(calls):
        tale.call("s1", 1, tools[tool], 124.0 + offset, ok=ok, http_status=200 if ok else 404)
    assert finding(tale, "atomic-failure") is None


def test_the_green_dashboard_is_claimed_with_its_facts() -> None:
    told = text(lost_at_drain(), "green-dashboard")
    assert "the server answered 404 / -32600 Session not found to 7 calls" in told
    assert "at least 2 healthy targets, 0 ALB or target 5xx, no alarm" in told
    assert "COMPLETED (t=170.0 s)" in told


def test_without_an_access_log_the_dashboard_claims_only_what_clients_saw() -> None:
    tale = lost_at_drain()
    tale.records = without(tale.records, "request")
    assert "no 5xx seen by a client" in text(tale, "green-dashboard")


def red_alarm() -> Tale:
    return lost_at_drain().add("alarm", 135.0, name="5xx", state="ALARM")


def red_request() -> Tale:
    return lost_at_drain().request(CARL, 135.0, 502)


def red_call() -> Tale:
    return lost_at_drain().call("s1", 99, READ, 135.0, ok=False, http_status=502)


def red_targets() -> Tale:
    return lost_at_drain().target(CARL, 132.0, "unhealthy").target(DORA, 132.0, "unhealthy")


def red_deployment() -> Tale:
    tale = lost_at_drain()
    tale.records = without(tale.records, "deployment")
    return tale


@pytest.mark.parametrize("tale", [red_alarm, red_request, red_call, red_targets, red_deployment, survived])
def test_the_dashboard_is_not_called_green_when_it_was_not(tale: object) -> None:
    assert callable(tale)
    assert finding(tale(), "green-dashboard") is None


def test_the_cliff_tells_prediction_measurement_moves_and_rule() -> None:
    told = text(lost_at_drain(), "cliff")
    assert "target draining at 94.5 s (predicted 78.0..129.4 s)" in told
    assert "2 sessions left 14.6..17.5 s after draining began (real seconds)." in told
    assert "A draining target gets no new request, cookie or not" in told


def test_with_sticky_overrides_drain_the_cliff_is_the_end_of_the_delay() -> None:
    tale = Tale().settings(behaviour__sticky_overrides_drain=True).warmed_up().triggered().started(CARL, DORA)
    tale.drained(ANNA, BERT).completed().talk("s1", 5.0, 144.0, ANNA).not_found("s1", 30, READ, 145.5)
    told = text(tale, "cliff")
    assert "keeps a session on its draining task until the delay ends" in told
    assert "1 session left 31.0 s after draining began" in told
    verdict = judge(tale.records)
    assert "reached the end of its deregistration delay at t=144.5 s; 1.0 s later" in verdict.why


def test_with_sticky_overrides_drain_a_failure_before_the_end_follows_the_draining() -> None:
    tale = Tale().settings(behaviour__sticky_overrides_drain=True).warmed_up().triggered().started(CARL, DORA)
    tale.drained(ANNA, BERT).completed().talk("s1", 5.0, 120.0, ANNA).not_found("s1", 30, READ, 130.0)
    assert "began draining at t=114.5 s; 15.5 s later" in judge(tale.records).why


def test_streams_cut_by_the_end_of_the_delay_are_counted() -> None:
    tale = survived().add("session", 6.0, session="s1", event="stream_opened", task_id=ANNA)
    tale.add("session", 144.5, session="s1", event="stream_ended", task_id=CARL, reason="connection-closed")
    assert "1 open stream ended 30.0 s after it." in text(tale, "cliff")


def test_without_timings_the_cliff_has_no_prediction() -> None:
    tale = Tale().replaced()
    tale.records = [r for r in tale.records if not str(r.get("name", "")).startswith("timing.")]
    assert "at 94.5 s (no prediction)" in text(tale, "cliff")


# --- the others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["setting", "session"])
def test_clients_that_keep_their_first_cookie_are_named(by: str) -> None:
    tale = survived()
    if by == "setting":
        tale.add("setting", 0.0, name="probe.cookies", value="first", source="probe")
    else:
        tale.add("session", 1.0, session="s1", event="opened", cookies="first-cookie-only")
    told = text(tale, "first-cookie-only")
    number = {"setting": "2 sessions", "session": "1 session"}[by]
    assert told.startswith(f"{number} sent only the first AWSALB they were given")


@pytest.mark.fidelity("ALB-STICKY-22", source="ALB-UG/sticky-sessions; CAPTURES", mark="inferred")
def test_sessions_that_wander_between_healthy_tasks_have_no_affinity() -> None:
    tale = Tale().replaced()
    for number in range(1, 5):
        tale.call("s1", number, WRITE, 30.0 + number, (ANNA, BERT)[number % 2])
    assert text(tale, "no-affinity").startswith("1 session changed tasks 3 times while the task before was still up")
    assert finding(survived(), "no-affinity") is None


def split() -> Tale:
    """The stream of s1 was opened on ANNA and stays there while CARL answers its calls."""
    return survived().add("session", 6.0, session="s1", event="stream_opened", task_id=ANNA)


@pytest.mark.fidelity("ALB-DRAIN-13", "TRAP-7")
def test_a_split_session_is_found_while_its_stream_lives() -> None:
    told = text(split(), "split-session")
    assert "1 session had a stream on a draining task while another task answered 10 calls" in told
    assert "first s1 at t=130.0 s: stream on a1a1a1a1, call on c3c3c3c3" in told


def test_a_stream_that_ended_splits_nothing() -> None:
    tale = split().add("session", 129.0, session="s1", event="stream_ended", task_id=ANNA)
    assert finding(tale, "split-session") is None
    other = survived().add("session", 131.0, session="s1", event="stream_opened", task_id=CARL)
    assert finding(other, "split-session") is None


def test_a_streams_task_is_that_of_the_calls_where_its_opening_names_none() -> None:
    tale = survived().add("session", 50.0, session="s1", event="stream_opened")
    assert finding(tale, "split-session") is not None


def test_errors_of_the_load_balancer_come_with_reason_and_target() -> None:
    tale = survived().request(BERT, 60.0, 502, target_status_code="-", error_reason="TargetConnectionError")
    tale.request(BERT, 61.0, 502, target_status_code="-").add("request", 62.0, target="-", elb_status_code="503")
    told = text(tale, "alb-errors")
    assert told.startswith("3 requests: 1 x 502 TargetConnectionError, 1 x 502 (no reason given), 1 x 503 (no reason")
    assert "Targets: 127.0.0.1:4002." in told


def test_errors_of_the_target_itself_are_not_the_load_balancers() -> None:
    assert finding(survived().request(BERT, 60.0, 500), "alb-errors") is None


def test_an_error_that_was_never_dispatched_names_no_target() -> None:
    tale = survived().add("request", 62.0, target="-", elb_status_code="503")
    assert "Targets:" not in text(tale, "alb-errors")


def test_fail_open_is_seen_when_all_targets_are_unhealthy() -> None:
    tale = Tale().settings().warmed_up().target(ANNA, 30.0, "unhealthy").request(ANNA, 31.0)
    assert finding(tale, "fail-open") is None  # BERT is healthy: that is a node that has not learned yet
    tale.target(BERT, 35.0, "unhealthy").request(BERT, 36.0).request(ANNA, 37.0, 500)
    tale.add("request", 38.0, target="127.0.0.1:9999", elb_status_code="200")
    assert text(tale, "fail-open").startswith("2 requests went to unhealthy targets while no target was healthy; 1 of")


def test_requests_within_the_propagation_window_are_counted() -> None:
    tale = survived().request(ANNA, T0 + 95.6).request(BERT, T0 + 104.6, 502, error_reason="x")
    told = text(tale, "propagation-window")
    assert told.startswith("2 requests reached 2 draining targets 1.0..10.0 s (real) after draining")
    assert "1 not answered 2xx" in told


def test_with_sticky_overrides_drain_there_is_no_propagation_window() -> None:
    tale = survived().request(ANNA, T0 + 95.6)
    tale.add("setting", 0.0, name="behaviour.sticky_overrides_drain", value="true")
    assert finding(tale, "propagation-window") is None


def test_a_rollback_tells_who_was_lost() -> None:
    assert "after 3 failed tasks, rolled back by t=95.0 s. 0 old tasks had left by then; no session" in text(
        rolled_back(), "rolled-back"
    )
    lost = rolled_back().not_found("s1", 99, READ, 111.0)
    assert text(lost, "rolled-back").endswith("1 session lost meanwhile: s1.")


def test_a_failed_deployment_without_rollback_is_named_so() -> None:
    tale = rolled_back()
    tale.records = [r for r in tale.records if "rolling back" not in r.get("message", "") and r["t"] != 95.0]
    found = finding(tale, "rolled-back")
    assert found is not None
    assert found.title == "The deployment failed"
    assert "not rolled back" in found.text


def test_calls_of_unknown_outcome_are_counted_with_the_writes_among_them() -> None:
    tale = crashed().call("s2", 90, READ, 31.0, ok=False, http_status=None, signature="timeout")
    tale.call("s2", 91, READ, 32.0, ok=False, http_status=None, signature="connect-error")  # nothing was sent
    told = text(tale, "unacknowledged")
    assert told.startswith("3 calls of 2 sessions got no answer of the server, first set_session_value of s1")
    assert "2 calls of them meant to change state" in told


def test_wrong_state_is_a_finding_of_its_own() -> None:
    tale = Tale().replaced().call("s1", 1, READ, 130.0, CARL, state=3, expected=2)
    assert "first s1: applied twice: state is 3, expected 2." in text(tale, "wrong-state")


def starting_slowly(speed: float) -> Tale:
    tale = Tale(speed).replaced()
    return tale.target(CARL, tale.when("registered") + 0.1, "unhealthy", reason="Target.FailedHealthChecks")


def test_a_server_that_starts_slower_than_it_is_asked_is_told_with_the_speed() -> None:
    told = text(starting_slowly(10), "slow-start")
    assert told.startswith("1 new target of 2 turned unhealthy before the first healthy answer.")
    assert "They were healthy 0.2 s (real) after registration." in told
    assert "At speed 10 health checks come 10 times as often" in told


def test_at_aws_own_pace_the_grace_period_is_the_advice() -> None:
    assert "A health-check grace period" in text(starting_slowly(1), "slow-start")


def test_a_new_task_stopped_for_its_slow_start_is_named() -> None:
    tale = Tale().replaced()
    eve = "e5" * 16
    tale.add("task", 40.0, task_id=eve, known="ACTIVATING", desired="RUNNING", target_id="127.0.0.1:4005")
    tale.add("target", 45.0, task_id=eve, target_id="127.0.0.1:4005", state="unhealthy")
    tale.add("task", 50.0, task_id=eve, known="DEACTIVATING", desired="STOPPED")
    assert "1 task stopped for it: e5e5e5e5." in text(tale, "slow-start")


def test_an_unhealthy_spell_after_the_start_is_no_slow_start() -> None:
    assert finding(Tale().replaced().target(CARL, 100.0, "unhealthy"), "slow-start") is None


def test_a_call_elsewhere_before_the_draining_is_no_split() -> None:
    """A stream of a session without affinity stands where it stands; nothing drains yet."""
    tale = Tale().replaced().call("s1", 1, WRITE, 50.0, ANNA)
    tale.add("session", 51.0, session="s1", event="stream_opened", task_id=ANNA)
    tale.call("s1", 2, WRITE, 60.0, BERT)
    assert finding(tale, "split-session") is None


# --- other platforms ------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", ["", "fargate", "fargate-no-sticky", "no-such"])
def test_where_nothing_differs_from_ecs_no_platform_is_told_of(platform: str) -> None:
    tale = lost_at_drain()
    tale.add("setting", 0.0, name="platform", value=platform)
    assert finding(tale, "platform") is None


def test_a_platform_says_what_it_changes_and_leaves_out_and_is_not_measured_by_ecs() -> None:
    tale = lost_at_drain()
    assert finding(tale, "cliff") is not None
    tale.add("setting", 0.0, name="platform", value="lambda")
    tale.add("setting", 0.0, name="platform.routing", value="exclusive")
    told = text(tale, "platform")
    assert told.startswith("An instance has one request at a time and is frozen between two")
    assert "Left out: cold starts and scaling" in told
    verdict = judge(tale.records)
    assert (verdict.steps, verdict.cliffs, finding(tale, "cliff")) == ((), (), None)
