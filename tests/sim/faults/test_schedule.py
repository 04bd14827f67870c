"""Faults beside a history: struck at their moment, ended, told, and over when their consequences have shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from rollproof.core.errors import UsageError
from rollproof.history import HistoryList
from rollproof.sim.faults.fault import Fault, FaultyStage, Hits, Scene, Struck
from rollproof.sim.faults.moments import parse_moment
from rollproof.sim.faults.plan import PlannedFault
from rollproof.sim.faults.schedule import FaultSchedule, aftermath_s
from rollproof.sim.virtual import virtual
from tests.core.play import Play as Core
from tests.core.test_service_rolling import steady

Told = list[tuple[float, str]]


@dataclass(frozen=True)
class Noted(Fault):
    """Writes down what is done to whom."""

    name: ClassVar[str] = "noted"
    summary: ClassVar[str] = "nothing"
    example: ClassVar[str] = "noted at 3 s"
    hits: ClassVar[Hits] = Hits.SESSION
    told_to: Callable[[str], None] = field(default=lambda _text: None)
    fails: bool = False

    def told(self) -> str:
        return ""

    async def strike(self, scene: Scene, target: str) -> Struck:
        if self.fails:
            raise UsageError("there is nothing to strike")
        self.told_to(f"strikes {target}")

        async def undo() -> None:
            self.told_to(f"leaves {target}")

        return Struck(undo, lambda world: world.is_steady)


class Clock:
    started_at = 0.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._zero = loop, loop.time()

    def now(self) -> float:
        return round(self._loop.time() - self._zero, 3)


class Stage:
    """A clock, a history that the schedule hears, and a service that is steady."""

    def __init__(self, loop: asyncio.AbstractEventLoop, core: Core) -> None:
        self.clock = Clock(loop)
        self.kept = HistoryList(self.clock)
        self.history = self
        self.orchestrator = core
        self.hear: Callable[[Any], None] | None = None

    def record(self, kind: str, /, **fields: Any) -> None:
        self.kept.record(kind, **fields)
        if self.hear is not None:
            self.hear(self.kept.records[-1])

    def target(self, state: str, **more: Any) -> None:
        self.record("target", target_id="10.0.0.4:8000", task_id="t1", state=state, **more)


Script = Callable[[Stage, FaultSchedule], Any]


def run(
    script: Script, *lines: tuple[str, str, float | None], until: str = "", fails: bool = False
) -> tuple[Told, Any]:
    """(when, what) of what the fault did, and the records. A line: moment, whom, for how long."""
    told: Told = []
    with virtual(1) as loop:
        stage = Stage(loop, steady())

        def note(text: str) -> None:
            told.append((stage.clock.now(), text))

        end = parse_moment(until) if until else None
        plans = [PlannedFault(Noted(note, fails), parse_moment(at), who, for_s, end) for at, who, for_s in lines]
        schedule = FaultSchedule(plans)
        stage.hear = schedule.listener(None)
        probe = SimpleNamespace(names=("s1", "s2"))
        scene = Scene(cast("FaultyStage", stage), "sim", cast("Any", probe), Random(1))

        async def main() -> None:
            stage.target("initial")
            async with schedule.playing(scene):
                await script(stage, schedule)

        loop.run_until_complete(main())
        return told, stage.kept.records


async def drains_at_20(stage: Stage, _schedule: FaultSchedule) -> None:
    await asyncio.sleep(20.0)
    stage.target("draining", draining_until=50.0)
    await asyncio.sleep(30.0)
    stage.target("unused")
    await asyncio.sleep(50.0)


@pytest.mark.parametrize(
    ("at", "struck_at"),
    [("5 s", 5.0), ("warmed-up + 7 s", 7.0), ("target draining + 3 s", 23.0), ("target unused - 10 s", 40.0)],
)
def test_it_strikes_at_its_moment(at: str, struck_at: float) -> None:
    told, records = run(drains_at_20, (at, "s1", None))
    assert told == [(pytest.approx(struck_at), "strikes s1")]
    [fault] = [r for r in records if r["kind"] == "fault"]
    assert fault | {"at": ""} == {
        "t": pytest.approx(struck_at),
        "at": "",
        "kind": "fault",
        "name": "noted",
        "target": "s1",
        "fault": 1,
        "plan": f"noted of s1 at {at}",
    }


def test_it_ends_after_its_time_or_at_a_moment() -> None:
    told, records = run(drains_at_20, ("warmed-up + 1 s", "all", 4.0))
    assert [(round(t, 2), text) for t, text in told] == [
        (1.0, "strikes s1"),
        (1.0, "strikes s2"),
        (5.0, "leaves s1"),
        (5.0, "leaves s2"),
    ]
    assert [(r["detail"], r["fault"]) for r in records if r.get("name") == "fault-ended"] == [
        ("noted s1", 1),
        ("noted s2", 1),
    ]
    told, _ = run(drains_at_20, ("warmed-up", "s1", None), until="target unused + 2 s")
    assert [(round(t, 2), text) for t, text in told] == [(0.0, "strikes s1"), (52.0, "leaves s1")]


def test_what_was_so_before_does_not_count_and_each_moment_comes_once() -> None:
    async def script(stage: Stage, _schedule: FaultSchedule) -> None:
        stage.target("initial")
        await asyncio.sleep(10.0)
        for _ in range(2):
            stage.target("healthy")
            await asyncio.sleep(1.0)
            stage.target("initial")
            await asyncio.sleep(1.0)

    assert run(script, ("target initial", "s1", None))[0] == [(pytest.approx(11.0), "strikes s1")]


def test_one_whose_moment_does_not_come_is_told_of() -> None:
    told, records = run(drains_at_20, ("target unhealthy", "s1", None), ("target draining", "s1", None))
    assert len(told) == 1
    assert [r["detail"] for r in records if r.get("name") == "fault-not-played"] == ["noted of s1 at target unhealthy"]


def test_it_is_over_when_its_consequences_have_had_time_to_show() -> None:
    seen: list[tuple[float, bool]] = []
    after_s = aftermath_s(steady().world)

    async def script(stage: Stage, schedule: FaultSchedule) -> None:
        world = stage.orchestrator.world
        for _ in range(int(after_s) + 20):
            seen.append((stage.clock.now(), schedule.is_over(world, stage.clock.now())))
            await asyncio.sleep(1.0)

    run(script, ("warmed-up + 5 s", "s1", 10.0))
    over = next(t for t, is_over in seen if is_over)
    assert over == pytest.approx(15.0 + after_s, abs=1.01)
    assert [is_over for t, is_over in seen if t >= over].count(False) == 0


def test_two_that_are_alike_are_two() -> None:
    told, _ = run(drains_at_20, ("5 s", "s1", None), ("5 s", "s1", None))
    assert len(told) == 2


def test_a_schedule_without_faults_is_over_and_hears_nothing() -> None:
    schedule = FaultSchedule(())
    assert schedule.listener(None) is None
    assert schedule.is_over(steady().world, 0.0)


def test_what_cannot_be_struck_ends_the_rehearsal_with_its_reason() -> None:
    async def script(_stage: Stage, _schedule: FaultSchedule) -> None:
        await asyncio.sleep(1_000.0)

    with pytest.raises(UsageError, match="nothing to strike"):
        run(script, ("3 s", "s1", None), fails=True)
    with pytest.raises(UsageError, match="no such session"):
        run(script, ("3 s", "s7", None))
