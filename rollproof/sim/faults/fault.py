"""What a fault is: a name, its parameters, whom it can hit, and what it does to a stage.

    @dataclass(frozen=True)
    class Hang(Fault):
        name, summary, hits = "hang", "the task's process stops where it is, as by SIGSTOP", Hits.TASK
        ...
        async def strike(self, scene, target) -> Struck: ...

Each has a file of its own. What ECS and the ALB then do is the core's affair; what a fault does is done to what they
act on: processes, connections, a Redis, a client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.events import InfrastructureEvent, RequestedEvent
from rollproof.core.world import World
from rollproof.orchestrator.stage import Service, Stage

if TYPE_CHECKING:
    from rollproof.probe import Probe
    from rollproof.sim.redis import SimRedis
    from rollproof.sim.stage import SimStage

SIM, LOCAL = "sim", "local"


class Hits(StrEnum):
    """Whom a fault hits."""

    TASK = "task"
    NODE = "node"  # of the load balancer
    SESSION = "session"  # its client
    REDIS = "redis"
    SERVICE = "service"


class FaultyService(Service, Protocol):
    """The scheduler, which hears of AWS's own machines as well."""

    def tell(self, event: RequestedEvent | InfrastructureEvent, /) -> None: ...


class FaultyStage(Stage, Protocol):
    """A stage whose tasks can be got hold of: the in-process one, and the local one."""

    @property
    def orchestrator(self) -> FaultyService: ...

    async def signal_task(self, task_id: str, signal: str) -> None:
        """A signal from outside to a task's process: SIGKILL, SIGSTOP, SIGCONT. Nothing is recorded."""


@dataclass(frozen=True)
class Scene:
    """What a fault can take hold of. `chance`: for whatever a fault leaves open. `speed`: AWS seconds a real second."""

    stage: FaultyStage
    stage_name: str
    probe: Probe
    chance: Random
    speed: float = 1.0

    @property
    def world(self) -> World:
        return self.stage.orchestrator.world

    @property
    def sim(self) -> SimStage:
        """The in-process stage; `check_stage` has made sure of it."""
        return cast("SimStage", self.stage)

    @property
    def redis(self) -> SimRedis:
        """Raises UsageError where the rehearsal has none."""
        if self.sim.redis is None:
            raise UsageError("this rehearsal has no Redis", hint="a --strategy that keeps sessions in one")
        return self.sim.redis


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Struck:
    """What has been done. `undo` ends it. `is_over`: the service has dealt with it, where it will never be undone."""

    undo: Callable[[], Awaitable[None]] = _nothing
    is_over: Callable[[World], bool] = lambda _world: True


def parameter(default: Any, unit: str, text: str) -> Any:
    """A parameter of a fault: what it is, and in what unit ("" for none)."""
    return field(default=default, metadata={"unit": unit, "text": text})


@dataclass(frozen=True)
class Fault(ABC):
    """`can_end`: it can be given a duration. `stages`: where it can be played. `example`: as for --fault."""

    name: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[str]
    hits: ClassVar[Hits]
    can_end: ClassVar[bool] = True
    stages: ClassVar[frozenset[str]] = frozenset({SIM})

    @abstractmethod
    async def strike(self, scene: Scene, target: str) -> Struck:
        """Do it to `target`: a task's or a session's name, a node; "" for a fault of the service or of Redis."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raises UsageError for parameters that make no sense."""

    def check_stage(self, stage_name: str) -> None:
        """Raises NotModelled for a stage that cannot play it."""
        if stage_name not in self.stages:
            raise NotModelled(
                f"the {stage_name} stage cannot play the fault {self.name}",
                hint=f"--stage {' or '.join(sorted(self.stages))}",
            )

    def told(self) -> str:
        """Its parameters, as in the history: "delay_s=3"."""
        return " ".join(f"{x.name}={_shown(getattr(self, x.name))}" for x in fields(self))

    @classmethod
    def parameters(cls) -> tuple[Field[Any], ...]:
        return fields(cls)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def value_of(parameter_field: Field[Any], text: str) -> Any:
    """`text` as the kind of value that the parameter's default is. Raises UsageError."""
    default = parameter_field.default
    assert default is not MISSING  # noqa: S101 - every parameter has one
    try:
        if isinstance(default, bool):
            return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        kind = "yes or no" if isinstance(default, bool) else {int: "a whole number", float: "a number"}[type(default)]
        raise UsageError(f"{parameter_field.name}={text} is not {kind}") from None


def at_least(fault: Fault, low: float, *names: str) -> None:
    """Raises UsageError for a parameter below `low`."""
    for name in names:
        if not getattr(fault, name) >= low:
            raise UsageError(f"{fault.name}: {name} is {low:g} or more", hint=f"e.g. {fault.example}")


def is_gone(task_id: str) -> Callable[[World], bool]:
    """Whether a task has ended, or is forgotten already, and the service is steady without it."""
    return lambda world: (
        world.is_steady and (task_id not in world.tasks or world.tasks[task_id].execution_stopped_at is not None)
    )
