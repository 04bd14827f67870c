"""One session at a time: its fate, its first failure, its cause, its moves and its state."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import SessionOutcome, SessionVerdict, judge
from rollproof.verdict.sessions import signature_of
from tests.verdict.stories import ANNA, BERT, CARL, READ, T0, WRITE, Tale, crashed, lost_at_drain, without


def session(tale: Tale, name: str = "s1") -> SessionVerdict:
    return next(session for session in judge(tale.records).sessions if session.session == name)


def on_anna() -> Tale:
    """A rollout, and a session that ANNA served until the nodes obeyed."""
    return Tale().replaced().talk("s1", 5.0, 125.0, ANNA)


# --- causes ---------------------------------------------------------------------------------------


def test_a_call_in_flight_is_lost_to_the_end_of_the_delay() -> None:
    """It was begun before the draining, waited through it, and was cut: the others went on elsewhere."""
    tale = on_anna().talk("s1", 130.0, 180.0, CARL, first=26)
    tale.call("s1", 20, "slow", 144.6, ok=False, http_status=502, started_t=110.0, signature="502")
    found = session(tale)
    assert found.outcome is SessionOutcome.DEGRADED
    assert "reached the end of its deregistration delay at t=144.5 s; 0.1 s later call 20 slow failed" in found.cause


def test_cut_connections_are_counted_in_the_cause() -> None:
    tale = on_anna().talk("s1", 130.0, 180.0, CARL, first=26)
    tale.target(ANNA, T0 + 124.5, "unused", cut=7)
    tale.call("s1", 20, "slow", 144.5, ok=False, http_status=502, started_t=110.0)
    assert "deregistration delay (7 connections cut) at t=144.5 s; at the same moment call 20" in session(tale).cause


def test_a_crash_is_told_with_its_exit_code() -> None:
    assert session(crashed()).cause == (
        "target 127.0.0.1:4001 (task a1a1a1a1) lost its process (exited with code 137) at t=30.0 s; 0.2 s later"
        " call 6 set_session_value failed with 502 / Bad Gateway"
    )


def test_after_a_crash_the_latest_transition_is_the_cause() -> None:
    tale = crashed()
    tale.records = [r for r in tale.records if r["kind"] != "call" or r["session"] != "s1"]
    tale.talk("s1", 5.0, 30.0, ANNA).not_found("s1", 9, READ, 40.0)
    assert "turned unhealthy at t=38.5 s; 1.5 s later" in session(tale).cause


def test_an_unhealthy_target_that_drains_later_lost_its_sessions_before() -> None:
    tale = on_anna().target(ANNA, 60.0, "unhealthy").not_found("s1", 12, READ, 64.0)
    assert "turned unhealthy at t=60.0 s; 4.0 s later" in session(tale).cause


def test_a_failure_that_nothing_explains_is_said_to_be_so() -> None:
    tale = on_anna().not_found("s1", 3, READ, 17.5)
    assert session(tale).cause.endswith(
        "target 127.0.0.1:4001 (task a1a1a1a1) had not left by then: the rollout does not explain it"
    )
    unknown = Tale().replaced().call("s1", 1, WRITE, 120.0, "f6" * 16).not_found("s1", 1, READ, 130.0)
    assert session(unknown).cause == (
        "call 1 get_session_state failed with 404 / -32600 Session not found; no transition of a task explains it"
    )


def test_a_server_that_names_no_task_gets_a_cause_by_time() -> None:
    tale = Tale().replaced().talk("s1", 5.0, 125.0, "").not_found("s1", 25, READ, 131.0)
    assert session(tale).cause.endswith("(the server names no task: inferred from the time)")
    early = Tale().replaced().talk("s1", 5.0, 50.0, "").not_found("s1", 10, READ, 51.0)
    assert session(early).cause.endswith("no transition of a task explains it")


def test_the_task_of_the_opening_counts_until_a_call_names_one() -> None:
    tale = Tale().replaced().add("session", 5.0, session="s1", event="opened", task_id=ANNA)
    tale.not_found("s1", 1, READ, 130.0)
    assert session(tale).cause.startswith("target 127.0.0.1:4001 (task a1a1a1a1) began draining")


def test_the_cause_says_which_task_answered_instead() -> None:
    tale = on_anna().not_found("s1", 25, READ, 131.0, CARL)
    assert "call 25 get_session_state, now on task c3c3c3c3, failed with" in session(tale).cause


def test_a_call_without_a_number_and_a_task_without_a_target_are_still_told() -> None:
    tale = on_anna()
    tale.records = without(tale.records, "target", "node")
    for record in tale.records:
        record.pop("target_id", None)
        record.pop("address", None)
    tale.add("call", 152.0, session="s1", tool=READ, ok=False)
    assert session(tale).cause == (
        "task a1a1a1a1 lost its process (exited with code 143) at t=151.0 s; 1.0 s later a get_session_state call"
        " failed with no answer"
    )


def test_a_session_that_began_anew_without_a_failure_has_lost_its_state() -> None:
    tale = on_anna().call("s1", 26, WRITE, 131.5, CARL, state_size=1, new_session=True)
    found = session(tale)
    assert found.outcome is SessionOutcome.LOST
    assert found.cause.endswith(
        "call 26 set_session_value, now on task c3c3c3c3, failed with its state gone after a re-initialisation"
    )


def test_a_session_that_did_its_work_again_has_its_state_back() -> None:
    tale = on_anna().call("s1", 26, WRITE, 131.0, CARL, ok=False, http_status=404)
    tale.call("s1", 1, WRITE, 131.5, CARL, state_size=1, new_session=True, replay=True)
    tale.call("s1", 26, WRITE, 132.5, CARL, state_size=26)
    assert session(tale).outcome is SessionOutcome.DEGRADED


# --- fates ----------------------------------------------------------------------------------------


def test_outages_add_up() -> None:
    tale = Tale().replaced().talk("s1", 5.0, 40.0, ANNA)
    for t, ok in ((41.0, False), (43.0, False), (44.0, True), (50.0, False), (50.5, True)):
        tale.call("s1", 9, WRITE, t, ANNA, ok=ok, started_t=t - 0.5)
    found = session(tale)
    assert (found.outcome, found.failed_calls) == (SessionOutcome.DEGRADED, 3)
    assert found.failing_for_s == pytest.approx(3.5 + 1.0)


def test_a_lost_session_failed_until_its_last_call() -> None:
    assert session(lost_at_drain()).failing_for_s == pytest.approx(141.0 - 129.0)


def test_moves_are_counted_in_the_order_in_which_calls_were_begun() -> None:
    """A slow answer of the old task, arriving late, is no move back."""
    tale = on_anna().talk("s1", 130.0, 140.0, CARL, first=26).call("s1", 20, "slow", 137.0, ANNA, started_t=110.0)
    assert [(m.from_task, m.to_task, m.reason) for m in session(tale).moves] == [
        (ANNA, CARL, "its target began draining at t=114.5 s")
    ]


def test_a_move_from_a_task_that_the_history_does_not_know_has_no_reason() -> None:
    tale = Tale().replaced().call("s1", 1, WRITE, 30.0, "f6" * 16).call("s1", 2, WRITE, 31.0, BERT)
    assert [move.reason for move in session(tale).moves] == [""]


def test_crossing_needs_a_call_begun_after_the_target_left() -> None:
    assert session(on_anna().call("s1", 26, READ, 128.5, CARL, started_t=127.9)).crossed is False
    assert session(on_anna().call("s1", 26, READ, 128.5, CARL, started_t=128.0)).crossed is True


# --- signatures and state -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "signature"),
    [
        (
            {"http_status": 404, "rpc_error": {"code": -32600, "message": "Session not found"}},
            "404 / -32600 Session not found",
        ),
        ({"http_status": 404, "rpc_error": {"code": -32600}}, "404 / -32600"),
        ({"http_status": 502, "error": "Bad Gateway"}, "502 / Bad Gateway"),
        ({"http_status": 503}, "503"),
        ({"http_status": None, "error": "ReadTimeout"}, "ReadTimeout"),
        ({"http_status": None}, "no answer"),
        ({"http_status": 404, "signature": "404/-32600 Session not found"}, "404/-32600 Session not found"),
    ],
)
def test_signatures(fields: dict[str, Any], signature: str) -> None:
    from rollproof.verdict.records import read

    tale = Tale().call("s1", 1, READ, 1.0, ok=False, **fields)
    assert signature_of(read(tale.records).calls[0]) == signature


@pytest.mark.parametrize(
    ("state", "expected", "defects"),
    [
        ({"a": 1}, {"a": 1}, ()),
        ({"a": 1, "b": 2}, {"a": 1}, ()),  # an unacknowledged write that was applied
        ({}, {"a": 1, "b": 2, "c": 3, "d": 4}, ("state incomplete: a, b, c and 1 more missing of 4",)),
        ({"a": "x"}, {"a": "y"}, ("state differs: a is 'x', expected 'y'",)),
        ({"n": 3}, {"n": 2}, ("applied twice: n is 3, expected 2",)),
        (1, 2, ("state incomplete: state is 1, expected 2",)),
        (2, 2, ()),
        ("x", "x", ()),
        (None, 2, ()),
        ({"a": 1}, None, ()),
    ],
)
def test_states_are_compared_where_the_client_does_not(state: Any, expected: Any, defects: tuple[str, ...]) -> None:
    tale = Tale().replaced().call("s1", 1, READ, 30.0, ANNA, state=state, expected=expected)
    assert session(tale).state_defects == defects


@pytest.mark.parametrize(("count", "is_defective"), [(12, True), (13, False), (14, False), (15, True)])
def test_an_unacknowledged_increment_widens_what_is_right(count: int, is_defective: bool) -> None:
    tale = Tale().replaced().call("s1", 1, "increment", 29.0, ok=False, http_status=502, key="k1")
    tale.call("s1", 2, READ, 30.0, ANNA, state=count, expected=13)
    assert bool(session(tale).state_defects) is is_defective


def test_a_repeated_increment_under_its_key_widens_nothing() -> None:
    tale = Tale().replaced().call("s1", 1, "increment", 29.0, ok=False, http_status=502, key="k1")
    tale.call("s1", 1, "increment", 29.5, ANNA, key="k1").call("s1", 2, READ, 30.0, ANNA, state=14, expected=13)
    assert session(tale).state_defects == ("applied twice: state is 14, expected 13",)


@pytest.mark.parametrize(
    ("signature", "defects"),
    [
        ("ok", ()),
        ("state-wrong", ("state differs: told",)),
        ("state-foreign", ("state of another session: told",)),
        ("applied-twice", ("applied twice: told",)),
        ("502", ()),
    ],
)
def test_a_probe_that_keeps_the_truth_is_believed(signature: str, defects: tuple[str, ...]) -> None:
    tale = Tale().replaced()
    for number in (1, 2):  # the same defect again is no second one
        tale.call("s1", number, READ, 30.0 + number, ANNA, signature=signature, error="told", state=1, expected=9)
    assert session(tale).state_defects == defects
