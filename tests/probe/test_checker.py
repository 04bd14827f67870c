"""The ground truth: nothing right is ever accused, nothing wrong ever passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.probe.answer import Outcome
from rollproof.probe.checker import SessionTruth

ACK, REFUSED, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REFUSED, Outcome.UNKNOWN


def truth_of(*outcomes: Outcome) -> SessionTruth:
    truth = SessionTruth()
    for number, outcome in enumerate(outcomes, 1):
        truth.wrote(f"seq_{number}", f"call_{number}", outcome)
    return truth


@pytest.mark.parametrize(
    ("state", "signature", "error"),
    [
        pytest.param({"seq_1": "call_1"}, "ok", "", id="unacknowledged_may_be_absent"),
        pytest.param({"seq_1": "call_1", "seq_2": "call_2", "other": 1}, "ok", "", id="unacknowledged_may_be_there"),
        pytest.param({}, "state-missing", "1 acknowledged and gone: seq_1", id="acknowledged_must_be_there"),
        pytest.param({"seq_1": "call_9"}, "state-wrong", "1 changed: seq_1", id="value_changed"),
        pytest.param({"seq_1": "call_1", "seq_9": "x"}, "state-foreign", "1 not ours: seq_9", id="somebody_elses"),
        pytest.param(
            {"seq_2": "x", "seq_9": "x"},
            "state-missing",
            "1 acknowledged and gone: seq_1; 1 changed: seq_2; 1 not ours: seq_9",
            id="all_at_once",
        ),
    ],
)
def test_a_read_is_checked_against_the_writes(state: dict[str, str], signature: str, error: str) -> None:
    check = truth_of(ACK, UNKNOWN).check_state(state)
    assert (check.signature, check.error) == (signature, error)
    assert check.expected == {"seq_1": "call_1"}


def test_many_missing_keys_are_counted_not_listed() -> None:
    check = truth_of(*[ACK] * 12).check_state({})
    assert check.error.endswith("seq_10 and 2 more")
    fields = check.fields()
    assert (len(fields["missing"]), fields["missing_count"], fields["expected_size"]) == (10, 12, 12)


@given(st.lists(st.sampled_from(Outcome)), st.data())
def test_what_the_outcomes_allow_is_never_accused(outcomes: list[Outcome], data: st.DataObject) -> None:
    state, counter = {}, 0
    truth = truth_of(*outcomes)
    for number, outcome in enumerate(outcomes, 1):
        is_applied = outcome is ACK or (outcome is UNKNOWN and data.draw(st.booleans()))
        if is_applied:
            state[f"seq_{number}"] = f"call_{number}"
            counter += 1
        truth.incremented(f"k{number}", outcome)
        if outcome is ACK:
            assert truth.check_counter(counter) == "ok"
    assert truth.check_state(state).signature == "ok"


@given(st.lists(st.sampled_from(Outcome), min_size=1), st.data())
def test_a_lost_or_doubled_value_is_always_accused(outcomes: list[Outcome], data: st.DataObject) -> None:
    outcomes = [*outcomes, ACK]
    truth = truth_of(*outcomes)
    for number, outcome in enumerate(outcomes, 1):
        truth.incremented(f"k{number}", outcome)
    acknowledged = [n for n, outcome in enumerate(outcomes, 1) if outcome is ACK]
    lost = data.draw(st.sampled_from(acknowledged))
    assert truth.check_state({f"seq_{n}": f"call_{n}" for n in acknowledged if n != lost}).signature == "state-missing"
    assert truth.check_counter(len(acknowledged) - 1) == "state-missing"
    assert truth.check_counter(len(acknowledged) + outcomes.count(UNKNOWN) + 1) == "applied-twice"


def test_worked_example_of_the_docstring() -> None:
    for value, signature in ((9, "state-missing"), (10, "ok"), (11, "ok"), (12, "applied-twice")):
        truth = SessionTruth()
        for number in range(10):
            truth.incremented(f"k{number}", ACK)
        truth.incremented("k10", UNKNOWN)
        truth.incremented("k11", REFUSED)
        assert truth.check_counter(value) == signature


def test_a_double_application_is_told_once_and_a_loss_for_ever() -> None:
    truth = SessionTruth()
    truth.incremented("k1", ACK)
    assert truth.check_counter(2) == "applied-twice"
    truth.incremented("k2", ACK)
    assert truth.check_counter(3) == "ok"
    assert [truth.check_counter(1), truth.check_counter(1)] == ["state-missing", "state-missing"]


def test_a_repeated_increment_counts_once() -> None:
    truth = SessionTruth()
    truth.incremented("k1", UNKNOWN)
    assert truth.counter_bounds == (0, 1)
    truth.incremented("k1", ACK)
    assert truth.counter_bounds == (1, 1)
    truth.incremented("k1", UNKNOWN)
    assert truth.counter_bounds == (1, 1)


@pytest.mark.parametrize(
    ("state", "signature"),
    [
        ({"counter": 1}, "ok"),
        ({}, "state-missing"),
        ({"counter": 2}, "applied-twice"),
        ({"counter": "x"}, "state-missing"),
    ],
)
def test_the_counter_is_checked_in_a_read_too(state: dict[str, object], signature: str) -> None:
    truth = SessionTruth()
    truth.counter_name = "counter"
    truth.incremented("k1", ACK)
    check = truth.check_state(state)
    assert check.signature == signature
    assert check.expected == {"counter": 1}
    assert bool(check.error) is (signature != "ok")
