"""When sessions begin: whenever targets change, some session is between its write and its read."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.probe.probe import spread

DELAY_S = 0.4
OPERATION_S = 3 * DELAY_S  # write, increment, read: two delays from the write to the read, one to the next write


@given(sessions=st.integers(2, 40), seed=st.integers(0, 1000), moment=st.floats(0, 1))
def test_at_any_moment_two_in_three_sessions_are_between_a_write_and_its_read(
    sessions: int, seed: int, moment: float
) -> None:
    now = 10 * OPERATION_S + moment * OPERATION_S
    begun = [(now - begin) % OPERATION_S for begin in spread(sessions, OPERATION_S, Random(seed))]
    between = sum(since < 2 * DELAY_S for since in begun)
    assert between >= 2 * sessions // 3 - 1


def test_each_session_begins_in_a_slot_of_its_own() -> None:
    begins = spread(4, 4.0, Random(7))
    assert sorted(int(begin) for begin in begins) == [0, 1, 2, 3]
    assert begins != sorted(begins)


def test_the_same_seed_gives_the_same_phases() -> None:
    assert spread(20, 3.0, Random(1)) == spread(20, 3.0, Random(1))


@pytest.mark.parametrize(("sessions", "operation_s"), [(1, 3.0), (3, 0.0)])
def test_nobody_waits_where_there_is_nothing_to_spread(sessions: int, operation_s: float) -> None:
    assert spread(sessions, operation_s, Random(1)) == [0.0] * sessions
