"""Activities: what works, what the rollout broke, what never worked; and that no session's fate depends on it."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import ActivityState, ActivityVerdict, Outcome, SessionOutcome, Verdict, judge
from tests.verdict import stories
from tests.verdict.stories import ANNA, NOT_FOUND, T0, Tale

LATER, EARLIER = 135.0, 10.0  # after ANNA's target began to drain, and before anything was done
REFUSED = {"http_status": 404, "rpc_error": NOT_FOUND}


def did(tale: Tale, t: float, outcome: str, kind: str = "elicitation", **fields: Any) -> Tale:
    fields = {"era": "legacy", **fields}
    return tale.call("s1", 3, "confirm", t, ANNA, ok=outcome == "ok", activity=kind, activity_outcome=outcome, **fields)


def one(verdict: Verdict) -> ActivityVerdict:
    (activity,) = verdict.activities
    return activity


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([(EARLIER, "ok"), (LATER, "ok")], ActivityState.OK),
        ([(EARLIER, "ok"), (LATER, "hang")], ActivityState.FAILED),
        ([(LATER, "hang"), (LATER + 9, "ok")], ActivityState.FAILED),  # ok once is enough, whenever it was
        ([(EARLIER, "hang"), (LATER, "ok")], ActivityState.UNSTEADY),
        ([(EARLIER, "hang"), (LATER, "hang")], ActivityState.DOES_NOT_WORK),
        ([(EARLIER, "unsupported"), (LATER, "unsupported")], ActivityState.UNSUPPORTED),
        ([(EARLIER, "unsupported"), (LATER, "failed")], ActivityState.UNSUPPORTED),
        ([(T0, "failed"), (EARLIER, "ok")], ActivityState.FAILED),  # the moment of the trigger is the rollout's
    ],
)
def test_what_became_of_it(history: list[tuple[float, str]], state: ActivityState) -> None:
    tale = stories.survived()
    for t, outcome in history:
        did(tale, t, outcome)
    verdict = judge(tale.records)
    assert one(verdict).state is state
    assert verdict.outcome is (Outcome.FAIL if state is ActivityState.FAILED else Outcome.PASS)
    assert {session.outcome for session in verdict.sessions} == {SessionOutcome.SURVIVED}


def test_a_broken_one_is_told_with_its_first_failure_and_cause() -> None:
    tale = stories.survived()
    did(tale, EARLIER, "ok")
    did(tale, EARLIER + 1, "late", http_status=200)
    did(tale, LATER, "reply-refused", **REFUSED)
    did(tale, LATER + 1, "reply-refused", **REFUSED)
    verdict = judge(tale.records)
    found = one(verdict)
    assert (found.tried, found.ok, found.unsupported, found.failed_in_rollout) == (4, 1, 0, 2)
    assert found.outcomes == {"reply-refused": 2, "late": 1}
    assert found.first_failure is not None
    assert (found.first_failure.t, found.first_failure.session) == (LATER, "s1")
    assert found.first_failure.signature == "reply-refused: 404 / -32600 Session not found"
    assert found.cause.endswith("its task, c3c3c3c3, was not leaving")  # CARL serves s1 by then
    assert verdict.why.startswith(
        "activities that work failed in the rollout: elicitation 2 of 4 times (1 more before it); first s1: "
    )
    (finding,) = [f for f in verdict.findings if f.id == "broken-activities"]
    assert "elicitation 2 of 4 times (1 more before it); first s1: " in finding.text
    assert [evidence.t for evidence in finding.evidence] == [LATER]


def test_a_broken_one_names_the_transition_that_it_followed() -> None:
    """A session with no other call since: the last task that answered it is the one that drained."""
    tale = Tale().replaced().talk("s1", 5.0, 110.0, ANNA).talk("s2", 5.0, 125.0, stories.BERT)
    tale.talk("s1", 140.0, 170.0, stories.CARL, first=40).talk("s2", 140.0, 170.0, stories.DORA, first=40)
    did(did(tale, EARLIER, "ok"), 116.0, "failed", **REFUSED).mark(181.0, "probe-ended")
    assert "began draining" in one(judge(tale.records)).cause


def test_they_are_no_calls_of_the_session() -> None:
    quiet, busy = stories.survived(), stories.survived()
    for t in (EARLIER, LATER):
        did(busy, t, "hang", http_status=None)
    before, after = judge(quiet.records), judge(busy.records)
    assert after.summary == before.summary
    assert [s.calls for s in after.sessions] == [s.calls for s in before.sessions]
    assert [f.id for f in after.findings] == [f.id for f in before.findings]


def test_each_era_is_judged_by_itself() -> None:
    tale = stories.survived()
    for era, outcome in (("modern", "hang"), ("legacy", "ok")):
        did(tale, EARLIER, outcome, era=era)
        did(tale, LATER, outcome, era=era)
    verdict = judge(tale.records)
    assert [(each.name, each.state) for each in verdict.activities] == [
        ("elicitation (legacy)", ActivityState.OK),
        ("elicitation (modern)", ActivityState.DOES_NOT_WORK),
    ]
    assert verdict.outcome is Outcome.PASS


def test_what_was_asked_for_and_never_tried_is_said() -> None:
    tale = stories.survived().add("setting", 0.0, name="probe.activities", value=["roots", "elicitation"])
    did(tale, EARLIER, "ok")
    assert [(each.activity, each.state) for each in judge(tale.records).activities] == [
        ("roots", ActivityState.NOT_TRIED),
        ("elicitation", ActivityState.OK),
    ]


def test_without_a_disruption_nothing_is_the_rollouts() -> None:
    tale = Tale().settings().running(ANNA).talk("s1", 5.0, 30.0, ANNA)
    did(did(tale, 10.0, "ok"), 20.0, "hang")
    verdict = judge(tale.records)
    assert (one(verdict).state, verdict.outcome) == (ActivityState.UNSTEADY, Outcome.UNKNOWN)


def test_sessions_are_counted_by_era() -> None:
    tale = Tale().replaced()
    for session, era, number in (("s1", "legacy", 1), ("s2", "modern", 2), ("s3", "modern", 3)):
        tale.call(session, number, stories.WRITE, 20.0, ANNA, era=era)
        tale.call(session, number, stories.READ, 150.0, stories.CARL, era=era, ok=session != "s3", http_status=200)
    assert judge(tale.records).counts_by_era == {
        "legacy": {"survived": 1, "degraded": 0, "lost": 0},
        "modern": {"survived": 1, "degraded": 0, "lost": 1},
    }
    assert judge(stories.survived().records).counts_by_era == {}
