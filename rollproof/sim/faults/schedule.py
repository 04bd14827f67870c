"""Plays planned faults beside a rehearsal: hears every record of the history, and strikes at the moment.

    schedule = FaultSchedule(plans)
    open_stage(plan, schedule.listener(listener))
    async with schedule.playing(scene):      # once the sessions are warm
        ...
        schedule.is_over(world)

What a fault brings about in the service takes a while to show: a health check has to fail, and as often as the
threshold says. So a schedule is over only that long after its last fault has begun or ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rollproof.core.errors import RollproofError
from rollproof.core.task import TaskStatus
from rollproof.core.world import World
from rollproof.history import Record
from rollproof.sim.faults.fault import Scene, Struck
from rollproof.sim.faults.moments import WARM, Entered, Moment, Subject, Watch, begins_at
from rollproof.sim.faults.plan import PlannedFault
from rollproof.sim.faults.victims import victims

Listener = Callable[[Record], None]


@dataclass
class _Waiting:
    """A moment that somebody waits for. `entered` and `at` are set when it is known."""

    moment: Moment
    known: asyncio.Event = field(default_factory=asyncio.Event)
    entered: Entered | None = None
    at: float = 0.0


class FaultSchedule:
    def __init__(self, plans: Sequence[PlannedFault], speed: float = 1.0) -> None:
        self._plans, self._speed = tuple(plans), speed
        self._watch = Watch()
        self._waiting: list[_Waiting] = []
        self._unplayed = dict(enumerate(self._plans, 1))
        self._lasting = 0  # those that strike, last for a time, or wait for one
        self._struck: list[Struck] = []
        self._changed_at = 0.0

    def listener(self, other: Listener | None) -> Listener | None:
        """Hears a stage's history, and hands it on to `other`."""
        if not self._plans:
            return other

        def hear(record: Record) -> None:
            self._hear(record)
            if other is not None:
                other(record)

        return hear

    def _hear(self, record: Record) -> None:
        for entered in self._watch.see(record):
            for waiting in self._waiting:
                at = None if waiting.known.is_set() else begins_at(waiting.moment, entered, self._speed)
                if at is not None:
                    waiting.entered, waiting.at = entered, at
                    waiting.known.set()

    @asynccontextmanager
    async def playing(self, scene: Scene) -> AsyncIterator[None]:
        """From now on moments count. What is left at the end of the block is told as not played."""
        try:
            async with asyncio.TaskGroup() as group:
                numbered = list(self._unplayed.items())
                playing = [group.create_task(self._play(number, plan, scene)) for number, plan in numbered]
                await asyncio.sleep(0)  # each knows now what it waits for
                try:
                    yield
                finally:
                    for task in playing:
                        task.cancel()
        except BaseExceptionGroup as several:
            raise _first(several) from None
        for plan in self._unplayed.values():
            scene.stage.history.record("mark", name="fault-not-played", detail=str(plan))

    async def _play(self, number: int, plan: PlannedFault, scene: Scene) -> None:
        entered = await self._moment(plan.at, scene)
        with self._lasts(scene):
            self._unplayed.pop(number)
            struck = [
                (target, await self._strike(number, plan, target, scene)) for target in self._hit(plan, entered, scene)
            ]
            if not plan.has_end:
                self._struck += [each for _, each in struck]
                return
            if plan.for_s is not None:
                await asyncio.sleep(plan.for_s / self._speed)
        if plan.until is not None:
            await self._moment(plan.until, scene)
        with self._lasts(scene):
            for target, each in struck:
                await each.undo()
                scene.stage.history.record("mark", name="fault-ended", detail=_told(plan, target), fault=number)

    @contextmanager
    def _lasts(self, scene: Scene) -> Iterator[None]:
        self._lasting += 1
        try:
            yield
        finally:
            self._lasting -= 1
            self._changed_at = scene.stage.clock.now()

    def _hit(self, plan: PlannedFault, entered: Entered | None, scene: Scene) -> list[str]:
        return victims(plan.fault.hits, plan.who, entered, scene.world, scene.probe.names, scene.chance)

    async def _strike(self, number: int, plan: PlannedFault, target: str, scene: Scene) -> Struck:
        """The record comes first: what the fault does is told after it."""
        extra = {"detail": detail} if (detail := plan.fault.told()) else {}
        hit = target or str(plan.fault.hits)
        scene.stage.history.record("fault", name=plan.fault.name, target=hit, **extra, fault=number, plan=str(plan))
        return await plan.fault.strike(scene, target)

    async def _moment(self, moment: Moment, scene: Scene) -> Entered | None:
        """Returns when it has come."""
        now = scene.stage.clock.now()
        if moment.subject is Subject.TIME or (moment.subject, moment.state) == (WARM.subject, WARM.state):
            begin = now if moment.subject is WARM.subject else 0.0
            with self._lasts(scene):
                await asyncio.sleep(max(0.0, begin + moment.offset_s / self._speed - now))
            return None
        waiting = _Waiting(moment)
        self._waiting.append(waiting)
        await waiting.known.wait()
        await asyncio.sleep(max(0.0, waiting.at - scene.stage.clock.now()))
        self._waiting.remove(waiting)
        return waiting.entered

    # --- the end -----------------------------------------------------------------------------------------------

    def is_over(self, world: World, now: float) -> bool:
        """Every fault has been played, or can be no more, and the service has dealt with them."""
        if not self._plans:
            return True
        is_imminent = any(waiting.known.is_set() for waiting in self._waiting)
        if self._lasting or is_imminent or not all(struck.is_over(world) for struck in self._struck):
            return False
        return now >= self._changed_at + aftermath_s(world) and _is_at_rest(world)


NO_FAULTS = FaultSchedule(())


def aftermath_s(world: World) -> float:
    """As long as it may take until a target that answers no more is unhealthy and ECS has seen it."""
    check = world.settings.target_group.health_check
    return check.unhealthy_threshold * check.interval_s + check.timeout_s + 2 * world.timing.scheduler_tick_s


def _is_at_rest(world: World) -> bool:
    """Nothing goes up or down any more that a moment could yet be about."""
    is_still = all(x.known in (TaskStatus.RUNNING, TaskStatus.STOPPED) for x in world.tasks.values())
    return world.is_steady and is_still and all(x.draining_at is None for x in world.targets.values())


def _told(plan: PlannedFault, target: str) -> str:
    return f"{plan.fault.name} {target}".strip()


def _first(several: BaseExceptionGroup[Any]) -> BaseException:
    """Of errors that came at once, one of ours if there is any."""
    found: list[BaseException] = []
    for error in several.exceptions:
        found.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in found if isinstance(error, RollproofError)), found[0])
