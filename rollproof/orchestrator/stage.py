"""What a stage is to those who play on it: a local one, a docker one, a docker one seen from another container."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rollproof.core.events import RequestedEvent
from rollproof.core.world import World
from rollproof.history import Recorder
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.stage_files import StagePlan


class Service(Protocol):
    """The service and its scheduler. `trouble` is what the machine refuses at the moment, "" if nothing."""

    @property
    def world(self) -> World: ...

    @property
    def trouble(self) -> str: ...

    def tell(self, event: RequestedEvent, /) -> None:
        """Ask for an update or a StopTask."""

    async def wait_for(self, condition: Callable[[World], bool]) -> None:
        """Returns when `condition(world)` holds."""


class Redis(Protocol):
    @property
    def description(self) -> str: ...


class Stage(Protocol):
    """An open stage. `running` ends only if the stage does, and then carries its error."""

    @property
    def plan(self) -> StagePlan: ...

    @property
    def history(self) -> Recorder: ...

    @property
    def orchestrator(self) -> Service: ...

    @property
    def redis(self) -> Redis | None: ...

    @property
    def balancer(self) -> str:
        """Which one, and its version."""

    @property
    def endpoint(self) -> str: ...

    @property
    def clock(self) -> StageClock: ...

    @property
    def running(self) -> asyncio.Task[Any]: ...

    async def kill_task(self, task_id: str) -> None:
        """The fault "a task dies": SIGKILL from outside, unknown to the scheduler."""

    async def restart_redis(self) -> None:
        """The fault "Redis restarts"; returns when it answers again. Raises as redis_outage.restart_redis."""

    async def usage(self) -> Usage:
        """What the tasks have used so far."""


@dataclass(frozen=True)
class Usage:
    """Counters that only rise: calls of each Redis command, CPU seconds of each task that runs. Empty: not measured."""

    redis_commands: Mapping[str, int]
    cpu_s: Mapping[str, float]


class OwnService(Service, Protocol):
    """The scheduler itself."""

    def describe(self) -> dict[str, Any]:
        """The facts of DescribeServices and its like: core/describe.py."""


class OwnStage(Stage, Protocol):
    """A stage in the process that runs it."""

    @property
    def orchestrator(self) -> OwnService: ...
