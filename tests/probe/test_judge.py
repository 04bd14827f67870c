"""What a session makes of an answer: the answer's word, unless the truth says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.probe.answer import Answer, Outcome
from rollproof.probe.checker import SessionTruth
from rollproof.probe.judge import judge
from rollproof.probe.plan import CallTool, Increment, Read, Step, Write

WRITE = Write("set_session_value", {}, "seq_2", "two")
READ = Read("get_session_state", {})
COUNT = Increment("increment", {}, "k2", repeatable=False)


def truth() -> SessionTruth:
    """One value written and one increment counted."""
    found = SessionTruth()
    found.wrote("seq_1", "one", Outcome.ACKNOWLEDGED)
    found.incremented("k1", Outcome.ACKNOWLEDGED)
    return found


def answered(http_status: int = 200, **payload: Any) -> Answer:
    return Answer(0.0, 1.0, http_status, {"structuredContent": payload} if http_status == 200 else None)


@pytest.mark.parametrize(
    ("step", "answer", "signature", "fields"),
    [
        pytest.param(WRITE, answered(state={"seq_2": "two"}), "ok", {"key": "seq_2"}, id="write"),
        pytest.param(WRITE, answered(502), "502", {"key": "seq_2"}, id="write_that_failed"),
        pytest.param(READ, answered(state={"seq_1": "one"}), "ok", {"expected_size": 1}, id="read"),
        pytest.param(READ, answered(502), "502", {}, id="read_that_failed"),
        pytest.param(READ, answered(), "tool-error: no state in the answer", {}, id="read_without_state"),
        pytest.param(COUNT, answered(502), "502", {"key": "k2"}, id="increment_that_failed"),
        pytest.param(
            COUNT,
            answered(value=2, replayed=True),
            "ok",
            {"key": "k2", "state": 2, "expected": 2, "replayed": True},
            id="increment",
        ),
        pytest.param(
            COUNT,
            answered(counter=1),
            "state-missing",
            {"key": "k2", "state": 1, "expected": 2, "replayed": False},
            id="increment_that_lost_one",
        ),
        pytest.param(
            COUNT, answered(value="2"), "tool-error: no counter in the answer", {"key": "k2"}, id="no_counter"
        ),
        pytest.param(CallTool("ping", {}), answered(), "ok", {}, id="any_other_tool"),
    ],
)
def test_a_step_is_judged(step: Step, answer: Answer, signature: str, fields: dict[str, Any]) -> None:
    found = judge(step, answer, truth())
    assert (found.signature, found.fields, found.ok) == (signature, fields, signature == "ok")
    assert bool(found.error) is (signature != "ok")


def test_a_lost_state_is_written_in_full_once() -> None:
    known = truth()
    first, second = (judge(READ, answered(state={}), known) for _ in range(2))
    assert (first.fields["state"], first.fields["expected"]) == ({}, {"seq_1": "one"})
    assert "state" not in second.fields
    assert second.fields["missing"] == ["seq_1"]


def test_the_counter_is_looked_for_in_the_state_once_it_was_seen_there() -> None:
    known = truth()
    assert judge(COUNT, answered(value=2, name="counter", state={"counter": 2}), known).ok
    read = judge(READ, answered(state={"seq_1": "one", "counter": 1}), known, with_state=True)
    assert read.signature == "state-missing"
    assert read.fields["expected"] == {"seq_1": "one", "counter": 2}
