"""The heap world (rollproof.sim.heap) with everything played and a story told: what tests of the core read.

    play = Play(settings)
    play.run_until_steady()
    play.mark()
    play.tell(ServiceUpdateRequested(force_new_deployment=True))
    play.run(600)
    assert play.events() == [...]

Tasks are called t1, t2 ... and deployments A, B ... in the order they were made, so that a timeline reads as a story
and a failed comparison shows where it went another way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import replace as changed
from string import ascii_uppercase
from typing import Any, ClassVar

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.decide import routing_table
from rollproof.core.settings import Settings, TaskDefinition
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.world import Check, Happened, HeapWorld

__all__ = ["Behaviour", "Check", "Happened", "Play", "revision", "settings"]


@dataclass
class Play(HeapWorld):
    skips_idle: bool = False
    tells_story: bool = True
    follows_views: ClassVar[bool] = True
    plays_own_checks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.orders: list[tuple[float, c.Command]] = []
        self.zero = 0.0
        self._told: list[tuple[float, str]] = []
        self._shown: dict[str, str] = {}
        self._names: dict[str, str] = {}

    @property
    def exceptions(self) -> dict[str, Behaviour]:
        """By task id: behaves otherwise than its definition says."""
        return self.containers.exceptions

    @property
    def started_at(self) -> dict[str, float]:
        return self.containers.started_at

    def behaviour_of(self, task_id: str) -> Behaviour:
        return self.containers.behaviour_of(self.world.tasks[task_id])

    def mark(self) -> Play:
        """Timelines start here and count from here."""
        self.zero = self.now
        return self

    def _why(self) -> str:
        return ":\n" + "\n".join(self.story())

    def _apply(self, happened: Happened) -> None:
        super()._apply(happened)
        if isinstance(happened, c.Command):
            self.orders.append((self.now, happened))
        if self.tells_story:
            self._note_story(happened)

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

    def _note_story(self, happened: Happened) -> None:
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

    def _settled(self) -> None:
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
    return changed(whole, **{x: changed(getattr(whole, x), **fields) for x, fields in parts.items()})


def revision(number: int, **changes: Any) -> TaskDefinition:
    return TaskDefinition(revision=number, **changes)
