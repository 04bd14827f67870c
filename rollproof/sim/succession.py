"""The orchestrators of one stage, one after another, and the health checks that they have made.

Who asks a `Succession` does not notice that the one before was killed, but that nothing happens for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rollproof.core.events import Event, HealthCheckAnswered
from rollproof.core.settings import HealthCheck
from rollproof.core.world import World
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator


class Succession:
    """`first` runs from the start; `successor` makes one that goes on from what is saved. It is an OwnService.

    What it is told while none is there, the next one hears.
    """

    def __init__(self, first: Orchestrator, successor: Callable[[], Orchestrator]) -> None:
        self._current, self._make_successor = first, successor
        self._is_killed = False
        self._succeeded = asyncio.Event()
        self._kept: list[Event] = []
        self._run: asyncio.Task[None] | None = None

    @property
    def world(self) -> World:
        return self._current.world

    @property
    def trouble(self) -> str:
        return self._current.trouble

    def describe(self) -> dict[str, Any]:
        return self._current.describe()

    def tell(self, event: Event) -> None:
        if self._is_killed:
            self._kept.append(event)
        else:
            self._current.tell(event)

    def republish(self) -> None:
        self._current.republish()

    async def wait_steady(self) -> None:
        await self.wait_for(lambda world: world.is_steady)

    async def wait_for(self, condition: Callable[[World], bool]) -> None:
        """Returns when `condition(world)` holds, whichever of them sees it."""
        while True:
            current, succeeded = self._current, self._succeeded
            waits = [asyncio.ensure_future(current.wait_for(condition)), asyncio.ensure_future(succeeded.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if waits[0].done():
                    waits[0].result()
                    return
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    # --- as long as the stage is open -------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled, or until one of them ends by itself, with its error."""
        while True:
            self._run = asyncio.create_task(self._current.run(), name="orchestrator")
            try:
                await asyncio.wait({self._run})
            except asyncio.CancelledError:
                self._run.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._run
                raise
            if not self._is_killed:
                self._run.result()
                return
            await self._succeeded.wait()
            self._succeeded = asyncio.Event()

    def kill(self) -> None:
        """The one that runs decides nothing any more, from this moment on. Killed twice, it stays so."""
        if not self._is_killed and self._run is not None:
            self._is_killed = True
            self._run.cancel()

    async def succeed(self) -> None:
        """The next one takes over."""
        if not self._is_killed:
            return
        if self._run is not None:
            await asyncio.wait({self._run})
        self._current, self._is_killed = self._make_successor(), False
        for event in self._kept:
            self._current.tell(event)
        self._kept.clear()
        self._succeeded.set()


class RuledChecker:
    """Health checks whose answers `rules` may change, each under a name, as a fault of the server's would."""

    def __init__(self, checker: HealthChecker) -> None:
        self._checker = checker
        self.rules: dict[str, Callable[[HealthCheckAnswered], HealthCheckAnswered]] = {}

    async def check(self, node: str, target_id: str, address: str, health_check: HealthCheck) -> HealthCheckAnswered:
        answer = await self._checker.check(node, target_id, address, health_check)
        for rule in list(self.rules.values()):
            answer = rule(answer)
        return answer
