"""A fault in one line, and in Python."""

from __future__ import annotations

import pytest

from rollproof.core.errors import NotModelled, UsageError
from rollproof.sim.faults.catalogue import ALL, FAULTS
from rollproof.sim.faults.hang import Hang
from rollproof.sim.faults.plan import parse_fault, planned
from rollproof.sim.faults.redis_down import RedisDown
from rollproof.sim.faults.slow_responses import SlowResponses


def test_a_line_says_what_whom_when_and_for_how_long() -> None:
    plan = parse_fault("slow-responses of random delay_s=3 at target draining + 3 s for 30 s")
    assert plan.fault == SlowResponses(delay_s=3.0)
    assert (plan.who, str(plan.at), plan.for_s, plan.until) == ("random", "target draining + 3 s", 30.0, None)
    assert parse_fault(str(plan)) == plan


def test_an_end_may_be_a_moment() -> None:
    plan = parse_fault("redis-down forgets=yes at warmed-up until deployment completed + 5 s")
    assert plan.fault == RedisDown(forgets=True)
    assert str(plan.until) == "deployment completed + 5 s"
    assert parse_fault(str(plan)) == plan


@pytest.mark.parametrize("fault", ALL)
def test_every_fault_has_an_example_that_works(fault: type) -> None:
    plan = parse_fault(fault.example)
    assert type(plan.fault) is fault
    assert parse_fault(str(plan)) == plan


def test_names_are_those_of_the_catalogue_once_each() -> None:
    assert len(FAULTS) == len(ALL) == 17


def test_in_python_it_is_the_same() -> None:
    assert planned("hang", at="target draining + 3 s", for_s=30) == parse_fault(
        "hang at target draining + 3 s for 30 s"
    )
    assert planned(SlowResponses(), at="9 s", delay_s=1.0).fault == SlowResponses(delay_s=1.0)
    assert planned(Hang(), at="9 s", until="steady").has_end


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "without a name"),
        ("at 3 s", "no fault is called"),
        ("hung at 3 s", "one of crash, hang"),
        ("hang", "does not say when"),
        ("hang for 3 s", "does not say when"),
        ("hang of at 3 s", "of whom"),
        ("hang now at 3 s", "no parameter 'now'"),
        ("hang x=1 at 3 s", "it has none"),
        ("redis-slow delay_s=soon at 3 s", "is not a number"),
        ("redis-slow delay_s=-1 at 3 s", "0 or more"),
        ("redis-slow delay_s=nan at 3 s", "0 or more"),
        ("redis-down forgets=perhaps at 3 s", "is not yes or no"),
        ("health-flap failures=1.5 at 3 s", "is not a whole number"),
        ("clock-step by_s=0 at 3 s", "no step"),
        ("hang at 3 s for ever", "no duration"),
        ("hang at 3 s for 0 s", "is no time"),
        ("crash at 3 s for 5 s", "has no end"),
        ("redis-flush of t1 at 3 s", "hits the whole redis"),
        ("scale-in of oldest at 3 s", "hits the whole service"),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_can(line: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fault(line)
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_a_fault_ends_once() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        planned("hang", at="3 s", for_s=3, until="steady")


def test_a_stage_that_cannot_play_it_names_one_that_can() -> None:
    with pytest.raises(NotModelled) as caught:
        parse_fault("clock-step at 3 s").fault.check_stage("local")
    assert caught.value.hint == "--stage sim"
    with pytest.raises(NotModelled) as caught:
        parse_fault("hang at 3 s").fault.check_stage("docker")
    assert caught.value.hint == "--stage local or sim"
    parse_fault("hang at 3 s").fault.check_stage("local")
