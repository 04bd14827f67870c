"""A stage for the core alone: virtual time, containers and health answers played by rules a script sets.

    play = Play(settings)
    play.run_until_steady()
    play.mark()
    play.tell(ServiceUpdateRequested(force_new_deployment=True))
    play.run(600)
    assert play.events() == [...]

Nothing sleeps: the next thing that happens is taken from a heap. Tasks are called t1, t2 ... and deployments A, B ...
in the order they were made, so that a timeline reads as a story and a failed comparison shows where it went
another way.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from string import ascii_uppercase
from typing import Any

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.decide import decide, next_wakeup, routing_table
from rollproof.core.settings import Settings, TaskDefinition
from rollproof.core.task import Task, TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.world import World, apply, create_world

MOST_STEPS_AT_ONE_TIME = 1_000
Happened = e.Event | c.Command
Check = Callable[[World, Happened, World, float], None]
"""Called after each step with the world before, what happened, the world after and the time. Raises if it is wrong."""


@dataclass(frozen=True)
class Behaviour:
    """How a container behaves."""

    starts_after_s: float | None = 1.0  # None: ContainerStartFailed
    answers_after_s: float = 0.5  # once started; then health checks get `health_status`
    health_status: int | None = 200  # None: no answer in time
    exits_on_sigterm_after_s: float | None = 0.2  # None: ignores SIGTERM
    crashes_after_s: float | None = None
    exit_code: int = 143


@dataclass
class Play:
    settings: Settings = field(default_factory=Settings)
    timing: Timing = field(default_factory=Timing)
    seed: int = 7
    behaviours: dict[str, Behaviour] = field(default_factory=dict)  # by name of the task definition
    checks: list[Check] = field(default_factory=list)
    tells_story: bool = True
    now: float = 0.0

    def __post_init__(self) -> None:
        self.world: World = create_world(self.settings, self.timing, self.seed, self.now)
        self.orders: list[tuple[float, c.Command]] = []
        self.exceptions: dict[str, Behaviour] = {}  # by task id: behaves otherwise than its definition says
        self.started_at: dict[str, float] = {}
        self.zero = 0.0
        self._told: list[tuple[float, str]] = []
        self._shown: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._queue: list[tuple[float, int, e.Event]] = []
        self._sequence = count()
        self._ports = count(8001)

    # -- driving ---------------------------------------------------------------------------------------

    def tell(self, event: e.Event, after_s: float = 0.0) -> Play:
        heapq.heappush(self._queue, (self.now + after_s, next(self._sequence), event))
        return self

    def update(self, **asked: Any) -> Play:
        """UpdateService, now."""
        return self.tell(e.ServiceUpdateRequested(**asked)).run(0)

    def deploy(self, number: int, behaviour: Behaviour | None = None, **changes: Any) -> Play:
        """UpdateService with another revision of the task definition, now."""
        definition = replace(self.world.settings.task_definition, revision=number, **changes)
        if behaviour is not None:
            self.behaviours[definition.name] = behaviour
        return self.update(task_definition=definition)

    def mark(self) -> Play:
        """Timelines start here and count from here."""
        self.zero = self.now
        return self

    def run(self, for_s: float) -> Play:
        end = self.now + for_s
        self._settle()
        while (at := self._next_at()) <= end:
            self.now = at
            self._settle()
        self.now = end
        return self

    def run_until(self, condition: Callable[[World], bool], at_most_s: float = 7200.0) -> Play:
        """To the first moment at which `condition` holds. Fails with the whole story if that does not come."""
        end = self.now + at_most_s
        self._settle()
        while not condition(self.world):
            self.now = self._next_at()
            assert self.now <= end, f"not within {at_most_s} s:\n" + "\n".join(self.story())
            self._settle()
        return self

    def run_until_steady(self) -> Play:
        return self.run_until(lambda world: world.is_steady)

    def _next_at(self) -> float:
        told = self._queue[0][0] if self._queue else inf
        return max(self.now, min(told, next_wakeup(self.world, self.now)))

    def _settle(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            self._apply(heapq.heappop(self._queue)[2])
        for _ in range(MOST_STEPS_AT_ONE_TIME):
            commands = decide(self.world, self.now)
            if not commands:
                return self._look()
            for command in commands:
                self._apply(command)
                self.orders.append((self.now, command))
                self._act(command)
        raise AssertionError(f"decide does not come to rest: {commands}")

    def _apply(self, happened: Happened) -> None:
        before, self.world = self.world, apply(self.world, happened, self.now)
        for check in self.checks:
            check(before, happened, self.world, self.now)
        if self.tells_story:
            self._note(happened)

    # -- what the world does with an order ----------------------------------------------------------------

    def behaviour_of(self, task_id: str) -> Behaviour:
        definition = self.world.tasks[task_id].definition
        return self.exceptions.get(task_id) or self.behaviours.get(definition, Behaviour())

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
                answer = self._answer(node, target_id)
                hangs = answer.status is None and answer.failure == "timeout"
                self.tell(answer, self.settings.target_group.health_check.timeout_s if hangs else 0.01)
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

    def events(self) -> list[str]:
        """Service events since `mark`, as "    12.0  has started 2 tasks: t1 t2."."""
        seen = [x for x in self.world.service_events if x.at >= self.zero]
        return [self._line(x.at, self.plain(x.message)) for x in seen]

    def story(self) -> list[str]:
        """Service events, and between them what tasks, targets, nodes and signals did. Needs `tells_story`."""
        return [self._line(at, text) for at, text in self.told() if at >= self.zero]

    def told(self) -> list[tuple[float, str]]:
        """(time, what) of the whole story, from the beginning."""
        return sorted(self._told, key=lambda x: x[0])

    def task(self, name: str) -> Task:
        """The task called `name` ("t1"), as long as it is remembered."""
        return next(x for x in self.world.tasks.values() if self.name(x.id) == name)

    def tasks(self, known: TaskStatus = TaskStatus.RUNNING) -> list[str]:
        return [self.name(x.id) for x in self.world.tasks.values() if x.known is known]

    def when(self, kind: type, name: str = "") -> list[float]:
        """Times since `mark` at which such a command was issued (for that task)."""
        found = [(at, x) for at, x in self.orders if isinstance(x, kind) and at >= self.zero]
        return [at - self.zero for at, x in found if not name or self.name(_subject(self.world, x)) == name]

    def states(self) -> dict[str, str]:
        """Task's name -> its target's state as DescribeTargetHealth shows it."""
        return {self.name(x.task_id): tg.state(x, self.now)[0].value for x in self.world.targets.values()}

    def table(self) -> dict[str, list[str]]:
        """Node -> the tasks it would send a new request to."""
        table = routing_table(self.world, self.now, 1)
        names = {x.id: self.name(x.task_id) for x in self.world.targets.values()}
        return {node.id: [names[x.id] for x in node.targets if x.new] for node in table.nodes}

    def name(self, identifier: str) -> str:
        """t1 of a task's id, A of a deployment's."""
        return self._names.get(identifier, identifier)

    def plain(self, message: str) -> str:
        """The message with short names for ids, and without the service's and the target group's."""
        words = re.sub(r"\(service [^,)]+(?:, (taskSet ecs-svc/\d+))?\) ?", lambda m: f"{m[1] or ''} ", message)
        words = re.sub(r"\((?:task|deployment) ([\w/-]+)\)", r"\1", words)
        words = re.sub(r" ?\(port \d+\)| ?in \(target-group [^)]+\)", "", words)
        return re.sub(r"[0-9a-f]{32}|ecs-svc/\d{19}", lambda m: self.name(m[0]), words).strip()

    def _line(self, at: float, text: str) -> str:
        return f"{at - self.zero:8.1f}  {text}"

    # -- taking notes ------------------------------------------------------------------------------------------

    def _note(self, happened: Happened) -> None:
        made = self.world.deployments_made
        letter = ascii_uppercase[made - 1] if made <= len(ascii_uppercase) else f"D{made}"
        self._names.setdefault(self.world.primary.id, letter)
        match happened:
            case c.StartTask(task_id=task_id, number=number):
                self._names[task_id] = f"t{number}"
            case c.SignalContainer(task_id=task_id):
                self._tell(f"{self.name(task_id)} SIGTERM")
            case c.KillContainer(task_id=task_id):
                self._tell(f"{self.name(task_id)} SIGKILL")
            case c.EmitServiceEvent(message=message):
                self._told.append((self.world.service_events[-1].at, f"# {self.plain(message)}"))
            case e.ContainerExited(task_id=task_id, exit_code=exit_code):
                self._tell(f"{self.name(task_id)} exited with {exit_code}")
        task = self.world.tasks.get(getattr(happened, "task_id", ""))
        if task is not None:
            self._show(task.id, self.name(task.id), task.known.name)

    def _look(self) -> None:
        """Notes what changes with time alone: targets as shown, and as each node knows them."""
        if not self.tells_story:
            return
        facts = {}
        for target in self.world.targets.values():
            name = self.name(target.task_id)
            facts[f"target of {name}"] = tg.state(target, self.now)[0].value
            for node in target.nodes:
                facts[f"{node} holds {name}"] = tg.node_state(target, node, self.now, self.world.rules).value
        for key in [x for x in self._shown if " of " in x and x not in facts]:
            self._tell(f"{key} unused")
            del self._shown[key]
        for key, value in facts.items():
            self._show(key, key, value)

    def _show(self, key: str, who: str, value: str) -> None:
        if self._shown.get(key) != value:
            self._shown[key] = value
            self._tell(f"{who} {value}")

    def _tell(self, text: str) -> None:
        self._told.append((self.now, text))


def _subject(world: World, command: c.Command) -> str:
    """The task a command is about, if any."""
    target = world.targets.get(getattr(command, "target_id", ""))
    return target.task_id if target else str(getattr(command, "task_id", ""))


def settings(
    *, desired: int = 2, minimum: int = 100, maximum: int = 200, delay_s: float = 300.0, **more: Any
) -> Settings:
    """Settings with the four numbers that a rollout follows from; `more` are fields of Settings' parts.

    A field goes where it is known: `health_check_grace_period_s` to the service, `stop_timeout_s` to the task
    definition, `nodes` to the behaviour; `container_check` is the task definition's own health check.
    """
    whole = Settings()
    parts: dict[str, dict[str, Any]] = {
        "service": {"desired_count": desired, "minimum_healthy_percent": minimum, "maximum_percent": maximum},
        "target_group": {"deregistration_delay_s": delay_s},
        "task_definition": {"health_check": more.pop("container_check", None)},
        "behaviour": {},
    }
    for name, value in more.items():
        owner = next(x for x in parts if name in type(getattr(whole, x)).__dataclass_fields__)
        parts[owner][name] = value
    return replace(whole, **{x: replace(getattr(whole, x), **fields) for x, fields in parts.items()})


def revision(number: int, **changes: Any) -> TaskDefinition:
    return TaskDefinition(revision=number, **changes)
