"""A stage for the core alone: virtual time, containers and health answers played by rules a script sets.

    play = Play(settings)
    play.run_until_steady()
    play.tell(ServiceUpdateRequested(force_new_deployment=True))
    play.run(600)
    assert play.events() == [...]

Nothing sleeps: the next thing that happens is taken from a heap.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import inf

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.decide import decide, next_wakeup, routing_table
from rollproof.core.settings import Settings, TaskDefinition
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.world import World, apply, create_world

MOST_STEPS_AT_ONE_TIME = 10_000


@dataclass(frozen=True)
class Behaviour:
    """How a container of one task definition behaves."""

    starts_after_s: float | None = 1.0  # None: ContainerStartFailed
    answers_after_s: float = 0.5  # once started; then health checks are 200
    health_status: int | None = 200
    exits_on_sigterm_after_s: float | None = 0.2  # None: ignores SIGTERM
    crashes_after_s: float | None = None
    exit_code: int = 143


@dataclass
class Play:
    settings: Settings = field(default_factory=Settings)
    timing: Timing = field(default_factory=Timing)
    seed: int = 7
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.world: World = create_world(self.settings, self.timing, self.seed, self.now)
        self.orders: list[tuple[float, c.Command]] = []
        self.checks: list[Callable[[World, float], None]] = []
        self.started_at: dict[str, float] = {}
        self.gone: set[str] = set()
        self._queue: list[tuple[float, int, e.Event]] = []
        self._sequence = count()
        self._ports = count(8001)

    # -- driving ---------------------------------------------------------------------------------------

    def tell(self, event: e.Event, after_s: float = 0.0) -> None:
        heapq.heappush(self._queue, (self.now + after_s, next(self._sequence), event))

    def run(self, for_s: float) -> Play:
        end = self.now + for_s
        self._settle()
        while True:
            at = min(next_wakeup(self.world, self.now), self._queue[0][0] if self._queue else inf)
            if at > end:
                self.now = end
                return self
            self.now = max(self.now, at)
            self._settle()

    def run_until(self, condition: Callable[[World], bool], at_most_s: float = 7200.0) -> Play:
        end = self.now + at_most_s
        while not condition(self.world):
            assert self.now < end, f"not within {at_most_s} s:\n" + "\n".join(self.events())
            self.run(1.0)
        return self

    def run_until_steady(self) -> Play:
        return self.run_until(lambda world: world.is_steady)

    def _settle(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            self._apply(heapq.heappop(self._queue)[2])
        for _ in range(MOST_STEPS_AT_ONE_TIME):
            commands = decide(self.world, self.now)
            if not commands:
                return
            for command in commands:
                self._apply(command)
                self.orders.append((self.now, command))
                self._act(command)
        raise AssertionError(f"decide does not come to rest: {commands}")

    def _apply(self, happened: e.Event | c.Command) -> None:
        self.world = apply(self.world, happened, self.now)
        for check in self.checks:
            check(self.world, self.now)

    # -- what the world does with an order ----------------------------------------------------------------

    def behaviour_of(self, task_id: str) -> Behaviour:
        definition = self.world.tasks[task_id].definition
        return self.behaviours.get(definition, Behaviour())

    def _act(self, command: c.Command) -> None:
        match command:
            case c.StartContainer(task_id=task_id):
                how = self.behaviour_of(task_id)
                if how.starts_after_s is None:
                    self.tell(e.ContainerStartFailed(task_id, "CannotPullContainerError: not found"))
                    return
                self.tell(e.ContainerStarted(task_id, f"10.0.0.1:{next(self._ports)}"), how.starts_after_s)
                self.started_at[task_id] = self.now + how.starts_after_s
                if how.crashes_after_s is not None:
                    self.tell(e.ContainerExited(task_id, 1), how.starts_after_s + how.crashes_after_s)
            case c.SignalContainer(task_id=task_id):
                how = self.behaviour_of(task_id)
                if how.exits_on_sigterm_after_s is not None:
                    self.tell(e.ContainerExited(task_id, how.exit_code), how.exits_on_sigterm_after_s)
            case c.KillContainer(task_id=task_id):
                self.tell(e.ContainerExited(task_id, 137))
            case c.CheckHealth(node=node, target_id=target_id):
                self.tell(self._answer(node, target_id), 0.01)
            case _:
                pass

    def _answer(self, node: str, target_id: str) -> e.HealthCheckAnswered:
        task_id = self.world.targets[target_id].task_id
        if self.world.tasks[task_id].known >= TaskStatus.DEPROVISIONING:
            return e.HealthCheckAnswered(node, target_id, None, "connection")
        how = self.behaviour_of(task_id)
        if self.now < self.started_at[task_id] + how.answers_after_s:
            return e.HealthCheckAnswered(node, target_id, None, "connection")
        return e.HealthCheckAnswered(node, target_id, how.health_status, "timeout")

    # -- what a script asks ------------------------------------------------------------------------------------

    def events(self, since: float = -1.0) -> list[str]:
        """Service events as "   12.0  has started 2 tasks", ids left out."""
        return [f"{x.at:8.1f}  {plain(x.message)}" for x in self.world.service_events if x.at >= since]

    def statuses(self) -> list[str]:
        return sorted(f"{x.definition} {x.known.name}" for x in self.world.tasks.values())

    def when(self, kind: type, **fields: object) -> list[float]:
        """Times at which such a command was issued."""
        return [
            at
            for at, order in self.orders
            if isinstance(order, kind) and all(getattr(order, k) == v for k, v in fields.items())
        ]

    def states(self) -> dict[str, str]:
        return {x.id: tg.state(x, self.now)[0].value for x in self.world.targets.values()}

    def table(self) -> dict[str, list[str]]:
        """node -> the targets it would send a new request to."""
        table = routing_table(self.world, self.now, 1)
        return {node.id: [x.id for x in node.targets if x.new] for node in table.nodes}


def plain(message: str) -> str:
    """The message without ids, ARNs and the service's name."""
    words = message.removeprefix("(service mcp-service").removeprefix(")").lstrip(", ")
    for opening in ("(task ", "(target-group ", "(deployment ", "(port "):
        while opening in words:
            start = words.index(opening)
            words = words[:start].rstrip() + words[words.index(")", start) + 1 :]
    while "taskSet ecs-svc/" in words or "deployment ecs-svc/" in words:
        start = words.index("ecs-svc/")
        words = words[:start] + "#" + words[start + 27 :]
    return words.strip().rstrip(":.").replace(":. ", ". ").strip()


def revision(number: int, **changes: object) -> TaskDefinition:
    return TaskDefinition(revision=number, **changes)  # type: ignore[arg-type]
