from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.core.errors import UsageError
from rollproof.core.matcher import matcher_accepts, parse_matcher


@pytest.mark.parametrize(
    ("matcher", "accepted", "refused"),
    [
        ("200", [200], [199, 201, 500]),
        ("200,202", [200, 202], [201, 203]),
        ("200-299", [200, 250, 299], [300, 199]),
        ("200, 204-206,301", [200, 204, 206, 301], [203, 207, 300]),
        ("499", [499], [498, 500]),
    ],
)
def test_a_status_is_accepted_as_the_matcher_says(matcher: str, accepted: list[int], refused: list[int]) -> None:
    assert all(matcher_accepts(matcher, status) for status in accepted)
    assert not any(matcher_accepts(matcher, status) for status in refused)


@pytest.mark.parametrize("matcher", ["", "ok", "20", "2xx", "200-", "-200", "200--299", "200;202", "２００"])
def test_what_is_no_matcher_is_refused_by_name(matcher: str) -> None:
    with pytest.raises(UsageError, match="neither a status nor a range"):
        matcher_accepts(matcher, 200)


@pytest.mark.fidelity(
    "ALB-HEALTH-15", source="API-ELB CreateTargetGroupInput; ALB-UG/target-group-health-checks", mark="doc"
)
@pytest.mark.parametrize("matcher", ["199", "500", "200-500", "299-200", "200,600"])
def test_a_matcher_outside_of_200_to_499_is_refused(matcher: str) -> None:
    with pytest.raises(UsageError, match=r"is not within 200\.\.499"):
        parse_matcher(matcher)


@given(st.lists(st.tuples(st.integers(200, 499), st.integers(200, 499)).map(sorted), min_size=1, max_size=5))
def test_ranges_survive_being_written_and_read(ranges: list[list[int]]) -> None:
    matcher = ",".join(f"{low}-{high}" for low, high in ranges)
    assert parse_matcher(matcher) == tuple(range(low, high + 1) for low, high in ranges)
