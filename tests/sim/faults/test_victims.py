"""Whom a fault hits."""

from __future__ import annotations

from random import Random

import pytest

from rollproof.core.errors import UsageError
from rollproof.core.events import ContainerExited
from rollproof.sim.faults.fault import Hits
from rollproof.sim.faults.moments import Entered, Subject
from rollproof.sim.faults.victims import victims
from tests.core.play import Play
from tests.core.test_service_rolling import steady

SESSIONS = ("s01", "s02", "s10")


def hit(
    hits: Hits, who: str = "", entered: Entered | None = None, play: Play | None = None, seed: int = 1
) -> list[str]:
    play = play or steady(desired=3)
    names = victims(hits, who, entered, play.world, SESSIONS, Random(seed))
    return [play.name(name) for name in names]


def of_task(play: Play, name: str) -> Entered:
    return Entered(Subject.TARGET, "draining", 1.0, play.task(name).id)


def test_without_a_word_it_is_the_one_that_the_moment_is_about_else_the_oldest() -> None:
    play = steady(desired=3)
    assert hit(Hits.TASK, entered=of_task(play, "t2"), play=play) == ["t2"]
    assert hit(Hits.TASK) == ["t1"]
    assert hit(Hits.TASK, entered=Entered(Subject.MARK, "steady", 1.0)) == ["t1"]


def test_words_for_tasks() -> None:
    assert hit(Hits.TASK, "newest") == ["t3"]
    assert hit(Hits.TASK, "all") == ["t1", "t2", "t3"]
    play = steady()
    assert hit(Hits.TASK, play.task("t2").id[:6], play=play) == ["t2"]


def test_chance_is_the_generators_own() -> None:
    drawn = {seed: hit(Hits.TASK, "random", seed=seed) for seed in range(20)}
    assert drawn == {seed: hit(Hits.TASK, "random", seed=seed) for seed in range(20)}
    assert {name for names in drawn.values() for name in names} == {"t1", "t2", "t3"}


def test_what_is_gone_or_on_its_way_out_is_not_the_oldest() -> None:
    play = steady(desired=3)
    play.tell(ContainerExited(play.task("t1").id, 137)).run(0)
    assert hit(Hits.TASK, play=play) == ["t2"]
    play.update(desired_count=1).run(20)
    assert hit(Hits.TASK, play=play) == [name for name in ("t2", "t3") if play.task(name).is_wanted]


def test_nodes_and_sessions() -> None:
    assert hit(Hits.NODE, "node-1") == ["node-1"]
    assert hit(Hits.NODE, entered=Entered(Subject.NODE, "draining", 1.0, node="node-0")) == ["node-0"]
    assert hit(Hits.NODE) in (["node-0"], ["node-1"])
    assert hit(Hits.SESSION, "s2") == ["s02"]
    assert hit(Hits.SESSION, "all") == list(SESSIONS)
    assert hit(Hits.SESSION)[0] in SESSIONS
    assert hit(Hits.REDIS) == [""]


@pytest.mark.parametrize(
    ("hits", "who", "says"),
    [
        (Hits.TASK, "it", "about no task"),
        (Hits.TASK, "eldest", "oldest | newest"),
        (Hits.NODE, "node-7", "node-0, node-1"),
        (Hits.SESSION, "s3", "s01, s02, s10"),
        (Hits.SERVICE, "oldest", "leave `of ...` out"),
    ],
)
def test_nobody_of_that_name(hits: Hits, who: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        hit(hits, who)
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_no_task_at_all() -> None:
    with pytest.raises(UsageError, match="no such task"):
        hit(Hits.TASK, play=steady(desired=0))
