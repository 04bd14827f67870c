"""Whole stories, judged: outcome, why, and what became of the sessions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollproof.verdict import Outcome, SessionOutcome, Verdict, judge
from tests.verdict import stories
from tests.verdict.stories import ANNA, BERT, CARL, DORA, NEW_DEPLOYMENT, READ, T0, WRITE, Tale, without


def fates(verdict: Verdict) -> dict[str, str]:
    return {session.session: session.outcome.value for session in verdict.sessions}


def findings(verdict: Verdict) -> list[str]:
    return [finding.id for finding in verdict.findings]


def degraded_at_drain() -> Tale:
    """One call fails between two tasks; the state is outside them, so the session goes on."""
    tale = Tale().replaced().talk("s1", 5.0, 125.0, ANNA).talk("s1", 131.0, 180.0, CARL, first=26)
    return tale.call("s1", 25, WRITE, 128.5, ok=False, http_status=503, error="Service Temporarily Unavailable")


def applied_twice() -> Tale:
    """Every call was answered 200, and the counter is one too high."""
    tale = Tale().replaced().talk("s1", 5.0, 180.0, ANNA)
    for number, value in ((1, 1), (2, 2), (3, 4)):
        tale.call("s1", number, "increment", 130.0 + number, CARL, state=value, expected=min(value, 3))
    return tale


def state_incomplete() -> Tale:
    tale = Tale().replaced().talk("s1", 5.0, 125.0, ANNA)
    return tale.call("s1", 26, READ, 131.0, CARL, state={"seq_26": "x"}, expected={"seq_1": "a", "seq_26": "x"})


def probe_saw_a_defect() -> Tale:
    tale = Tale().replaced().talk("s1", 5.0, 125.0, ANNA)
    defect = {"ok": False, "signature": "state-missing", "error": "24 acknowledged and gone: seq_1"}
    return tale.call("s1", 25, READ, 131.0, CARL, **defect).call("s1", 26, READ, 136.0, CARL, **defect)


def reinitialised_empty() -> Tale:
    tale = Tale().replaced().talk("s1", 5.0, 125.0, ANNA).not_found("s1", 25, WRITE, 131.0)
    tale.add("session", 131.2, session="s1", event="reinitialised", reason="404")
    tale.call("s1", 26, WRITE, 131.5, CARL, state_size=1, new_session=True)
    return tale.call("s1", 27, WRITE, 136.0, CARL, state_size=2)


def reinitialised_with_state() -> Tale:
    tale = Tale().replaced().talk("s1", 5.0, 125.0, ANNA).not_found("s1", 25, WRITE, 131.0)
    return tale.call("s1", 26, WRITE, 131.5, CARL, state_size=26, new_session=True)


def nothing_replaced() -> Tale:
    return Tale().settings().warmed_up().mark(T0, "deployment-triggered").talk("s1", 5.0, 60.0, ANNA)


def never_ended() -> Tale:
    tale = Tale().settings().warmed_up().triggered().started(CARL, DORA).drained(ANNA, BERT)
    return tale.talk("s1", 5.0, 125.0, ANNA).talk("s1", 130.0, 150.0, CARL, first=26)


def nobody_crossed() -> Tale:
    """The only session ended before any target stopped being chosen."""
    return Tale().replaced().talk("s1", 5.0, 60.0, ANNA)


def came_too_late() -> Tale:
    """A session that was never served by a replaced task crosses nothing."""
    return Tale().replaced().talk("s1", 135.0, 160.0, CARL)


def nobody_called() -> Tale:
    return Tale().replaced()


def nothing_done() -> Tale:
    return Tale().settings().warmed_up().talk("s1", 5.0, 60.0, ANNA)


def early_sigterm() -> Tale:
    tale = Tale().settings().warmed_up().triggered().started(CARL, DORA)
    tale.drained(ANNA, BERT, unused=104.5, sigterm=104.6).completed()
    return tale.talk("s1", 5.0, 125.0, ANNA).talk("s1", 130.0, 180.0, CARL, first=26)


def request_after_drain() -> Tale:
    return stories.survived().request(ANNA, 140.0)


def names_no_task() -> Tale:
    """A server of the user's own that does not say which task answers."""
    return Tale().replaced().talk("s1", 5.0, 180.0, "")


def no_rollback_wanted_one() -> Tale:
    tale = Tale().replaced().talk("s1", 5.0, 180.0, ANNA)
    return tale.add("setting", 0.0, name="disruption", value="rollback")


def rollback_unfinished() -> Tale:
    tale = Tale().settings(disruption="rollback").warmed_up().triggered().talk("s1", 5.0, 60.0, ANNA)
    tale.event(90.0, "rolling back to deployment ecs-svc/1000000000000000001.")
    return tale.deployment(90.0, NEW_DEPLOYMENT, "ACTIVE", "FAILED")


def rollback_unwatched() -> Tale:
    tale = stories.rolled_back("rollback")
    tale.records = without(tale.records, "call")
    return tale.talk("s1", 5.0, 30.0, ANNA)


def never_steady_after_a_crash() -> Tale:
    tale = stories.crashed()
    tale.records = without(tale.records, "service_event", "mark")
    return tale


PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
CASES: list[tuple[Callable[[], Tale], Outcome, dict[str, str], str]] = [
    (stories.survived, PASS, {"s1": "survived", "s2": "survived"}, "2 of 2 sessions survived, 0 of 136 calls failed"),
    (
        stories.lost_at_drain,
        FAIL,
        {"s1": "lost", "s2": "lost"},
        "2 of 2 sessions lost; first s1: target 127.0.0.1:4001",
    ),
    (
        stories.crashed,
        PASS,
        {"s1": "degraded", "s2": "survived"},
        "1 degraded (s1): 2 of 58 calls failed, at most 9.9 s",
    ),
    (stories.rolled_back, UNKNOWN, {"s1": "survived", "s2": "survived"}, "no task was replaced: the deployment failed"),
    (
        lambda: stories.rolled_back("rollback"),
        PASS,
        {"s1": "survived", "s2": "survived"},
        "rolled back: 2 of 2 sessions",
    ),
    (degraded_at_drain, PASS, {"s1": "degraded"}, "0 of 1 session survived, 1 degraded (s1): 1 of 69 calls failed"),
    (applied_twice, FAIL, {"s1": "lost"}, "applied twice: state is 4, expected 3"),
    (state_incomplete, FAIL, {"s1": "lost"}, "state incomplete: seq_1 missing of 2"),
    (probe_saw_a_defect, FAIL, {"s1": "lost"}, "state incomplete: 24 acknowledged and gone: seq_1"),
    (reinitialised_empty, FAIL, {"s1": "lost"}, "call 25 set_session_value failed with 404 / -32600 Session not found"),
    (reinitialised_with_state, PASS, {"s1": "degraded"}, "1 degraded (s1)"),
    (nothing_replaced, UNKNOWN, {"s1": "survived"}, "no task was replaced after the deployment at t=20.0 s"),
    (never_ended, UNKNOWN, {"s1": "survived"}, "the rollout had not ended when the history ends, at t=167.0 s"),
    (nobody_crossed, UNKNOWN, {"s1": "survived"}, "no call crossed: of 2 replaced tasks none had served"),
    (came_too_late, UNKNOWN, {"s1": "survived"}, "no call crossed"),
    (nobody_called, UNKNOWN, {}, "no session called: there was nothing to lose"),
    (nothing_done, UNKNOWN, {"s1": "survived"}, "the history shows no deployment and no fault"),
    (
        early_sigterm,
        FAIL,
        {"s1": "survived"},
        "broke a rule of AWS: task a1a1a1a1 was sent SIGTERM 10.1 s after draining",
    ),
    (request_after_drain, FAIL, {"s1": "survived", "s2": "survived"}, "a request reached target 127.0.0.1:4001 11.9 s"),
    (names_no_task, PASS, {"s1": "survived"}, "2 tasks replaced: 1 of 1 session survived"),
    (no_rollback_wanted_one, UNKNOWN, {"s1": "survived"}, "the deployment was to fail and be rolled back, and did not"),
    (rollback_unfinished, UNKNOWN, {"s1": "survived"}, "its rollback had not ended when the history ends"),
    (rollback_unwatched, UNKNOWN, {"s1": "survived"}, "no session called both before the deployment and after"),
    (never_steady_after_a_crash, UNKNOWN, {"s1": "degraded", "s2": "survived"}, "the rollout had not ended"),
    (Tale, UNKNOWN, {}, "no session called"),
]


@pytest.mark.parametrize(
    ("story", "outcome", "sessions", "why"), CASES, ids=lambda case: getattr(case, "__name__", None)
)
def test_a_story_is_judged(story: Callable[[], Tale], outcome: Outcome, sessions: dict[str, str], why: str) -> None:
    verdict = judge(story().records)
    assert (verdict.outcome, fates(verdict)) == (outcome, sessions)
    assert why in verdict.why
    assert verdict.reasons[0] == verdict.why
    assert verdict.exit_code == {PASS: 0, FAIL: 1, UNKNOWN: 3}[outcome]


def test_the_worst_outcome_wins() -> None:
    """Sessions were lost, and the rollout never ended: FAIL, with the gap told behind it."""
    verdict = judge(without(stories.lost_at_drain().records, "deployment"))
    assert verdict.outcome is FAIL
    assert verdict.reasons[1].startswith("the rollout had not ended")


def test_degraded_sessions_fail_a_run_that_says_so() -> None:
    strict = degraded_at_drain().add("setting", 0.0, name="verdict.fail_on_degraded", value=True)
    verdict = judge(strict.records)
    assert (verdict.outcome, verdict.why) == (FAIL, "1 session degraded, and verdict.fail_on_degraded is on")


def test_state_that_could_not_be_checked_is_said_in_the_first_line() -> None:
    verdict = judge(stories.survived().add("setting", 0.0, name="probe.plan", value="ping").records)
    assert "their state unchecked" in verdict.why


def test_the_cause_names_the_transition_that_the_loss_followed() -> None:
    verdict = judge(stories.lost_at_drain().records)
    assert [session.cause for session in verdict.of(SessionOutcome.LOST)] == [
        "target 127.0.0.1:4001 (task a1a1a1a1) began draining at t=114.5 s; 14.6 s later call 24 get_session_state"
        " failed with 404 / -32600 Session not found",
        "target 127.0.0.1:4002 (task b2b2b2b2) began draining at t=114.5 s; 17.5 s later call 25 set_session_value"
        " failed with 404 / -32600 Session not found",
    ]


def test_the_summary_has_the_published_names() -> None:
    verdict = judge(stories.lost_at_drain().records)
    assert verdict.summary == {
        "http_status_counts": {"200": 95, "404": 7},
        "unique_task_ids": [ANNA, BERT],
        "first_task_id": ANNA,
        "last_task_id": ANNA,
        "max_state_size": 24,
        "session_not_found_count": 7,
        "error_rows": 7,
        "session_complete": False,
    }
    assert verdict.sessions[1].summary["http_status_counts"] == {"200": 48, "404": 3}
    assert verdict.sessions[1].summary["last_task_id"] == BERT


def test_replay_and_knobs_come_from_the_settings() -> None:
    tale = stories.survived()
    tale.add("setting", 0.0, name="service.desired_count", value=4, source="--set desired_count=4", template_value=2)
    verdict = judge(tale.records)
    assert (verdict.replay.seed, verdict.replay.command) == (7, "rollproof rehearse --strategy memory")
    assert [(k.name, k.value, k.template_value) for k in verdict.what_ifs] == [("service.desired_count", 4, 2)]
    assert {(k.name, k.mark) for k in verdict.behaviours} == {
        ("behaviour.sticky_overrides_drain", "inferred"),
        ("behaviour.nodes", "inferred"),
        ("timing.healthy_bake_s", "observed"),
        ("timing.drain_propagation_s", "observed"),
        ("timing.drain_propagation_jitter_s", "inferred"),
    }


def test_findings_of_the_loss_come_with_the_published_four_first() -> None:
    tale = stories.lost_at_drain().cookie("s1", 6.0, ANNA, ANNA)
    assert findings(judge(tale.records)) == ["atomic-failure", "green-dashboard", "cliff", "cookie-rotation"]
