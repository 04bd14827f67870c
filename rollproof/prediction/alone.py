"""One rolling deployment played by the core alone, in virtual time: containers that start, answer and end as told.

No server, no balancer, no clock: the next thing that happens is taken from a heap. What comes out are the lives of the
old and the new tasks, in AWS seconds after UpdateService, as a verdict reads them from a history.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import messages
from rollproof.core import target_group as tg
from rollproof.core.decide import decide, next_wakeup
from rollproof.core.deployment import RolloutState
from rollproof.core.matcher import parse_matcher
from rollproof.core.settings import Settings
from rollproof.core.task import Task, TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.world import World, apply, create_world
from rollproof.verdict.rollout import TaskLife

_NEVER_S = 1e9


@dataclass(frozen=True)
class Containers:
    """What every container does, in real seconds."""

    starts_after_s: float = 0.0  # from the end of the pull to its process
    answers_after_s: float = 0.0  # from there to its first passed health check
    exits_after_s: float = 0.5  # after the stop signal; longer than the stop timeout: killed


@dataclass(frozen=True)
class Played:
    """`learned` are the points of time at which each node obeyed a task's draining. None: did not come to pass."""

    old: tuple[TaskLife, ...]
    new: tuple[TaskLife, ...]
    learned: Mapping[str, tuple[float, ...]]
    completed_at: float | None
    stable_at: float | None  # DescribeServices shows one deployment, all its tasks RUNNING
    is_stuck: bool


def play_alone(settings: Settings, timing: Timing, *, seed: int = 1, containers: Containers | None = None) -> Played:
    """A service brought up, then replaced by force, until it completes or can neither start nor stop a task."""
    containers = containers or Containers()
    if containers.answers_after_s == 0:
        settings = _checked_once(settings)
    stage = _Stage(create_world(settings, timing, seed, 0.0), containers)
    stage.run_until(lambda world: world.is_steady)
    before, trigger = stage.world.primary.number, stage.now
    old = {task.id for task in stage.world.tasks.values() if task.is_wanted}
    stage.seen.clear()
    stage.healthy_at.clear()
    stage.tell(e.ServiceUpdateRequested(force_new_deployment=True))
    stage.settle()

    def is_stable(world: World) -> bool:
        running = sum(task.known is TaskStatus.RUNNING for task in world.tasks.values())
        return len(world.deployments) == 1 and running == settings.service.desired_count

    def is_over(world: World) -> bool:
        is_completed = world.primary.rollout_state is RolloutState.COMPLETED and world.primary.number != before
        return is_completed or stage.is_stuck

    stable_at = None
    while not is_over(stage.world):
        if stable_at is None and is_stable(stage.world):
            stable_at = stage.now - trigger
        stage.step()
    completed = stage.world.primary.rollout_state is RolloutState.COMPLETED
    lives = {task_id: _life(task, stage, trigger) for task_id, task in stage.seen.items()}
    return Played(
        old=tuple(life for life in lives.values() if life.task_id in old),
        new=tuple(life for life in lives.values() if life.task_id not in old),
        learned={task_id: tuple(t - trigger for t in times) for task_id, times in stage.learned.items()},
        completed_at=stage.now - trigger if completed else None,
        stable_at=(stage.now - trigger if stable_at is None else stable_at) if completed else None,
        is_stuck=not completed,
    )


def _checked_once(settings: Settings) -> Settings:
    """Containers that answer from the start pass their first check; no later one changes anything, so none comes."""
    group = settings.target_group
    check = replace(group.health_check, interval_s=_NEVER_S)
    return replace(settings, target_group=replace(group, health_check=check))


@dataclass
class _Stage:
    world: World
    containers: Containers
    now: float = 0.0
    seen: dict[str, Task] = field(default_factory=dict)  # as last seen: ECS forgets stopped tasks after an hour
    healthy_at: dict[str, float] = field(default_factory=dict)
    learned: dict[str, tuple[float, ...]] = field(default_factory=dict)
    unused_at: dict[str, float] = field(default_factory=dict)
    draining_at: dict[str, float] = field(default_factory=dict)
    is_stuck: bool = False

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, e.Event]] = []
        self._order, self._ports = count(), count(1)
        self._up_at: dict[str, float] = {}
        self._status = parse_matcher(self.world.settings.target_group.health_check.matcher)[0].start

    def tell(self, event: e.Event, after_s: float = 0.0) -> None:
        heapq.heappush(self._queue, (self.now + after_s, next(self._order), event))

    def run_until(self, condition: Callable[[World], bool]) -> None:
        self.settle()
        while not condition(self.world):
            self.step()

    def step(self) -> None:
        told = self._queue[0][0] if self._queue else inf
        self.now = max(self.now, min(told, next_wakeup(self.world, self.now)))
        self.settle()

    def settle(self) -> None:
        """Everything that is due now."""
        while self._queue and self._queue[0][0] <= self.now:
            event = heapq.heappop(self._queue)[2]
            self.world = apply(self.world, event, self.now)
            if isinstance(event, e.HealthCheckAnswered):
                self._look_at(event.target_id)
        while commands := decide(self.world, self.now):
            for command in commands:
                self._note(command)
                self.world = apply(self.world, command, self.now)
                self._act(command)
        self.seen.update(self.world.tasks)

    def _look_at(self, target_id: str) -> None:
        target = self.world.targets.get(target_id)
        if target is not None and tg.state(target, self.now)[0] is tg.TargetState.HEALTHY:
            self.healthy_at.setdefault(target.task_id, self.now)

    def _note(self, command: c.Command) -> None:
        """What a target went through is gone with it."""
        if isinstance(command, c.EmitServiceEvent):
            self.is_stuck |= command.message == messages.stuck(self.world.settings.service.name)
        if isinstance(command, c.RemoveTarget):
            target = self.world.targets[command.target_id]
            times = (tg.learned_at(target, node, self.world.rules) for node in target.nodes)
            self.learned[target.task_id] = tuple(t for t in times if t is not None)
            self.draining_at[target.task_id] = target.draining_at or self.now
            self.unused_at[target.task_id] = self.now

    def _act(self, command: c.Command) -> None:
        how = self.containers
        match command:
            case c.StartContainer(task_id=task_id):
                self._up_at[task_id] = self.now + how.starts_after_s + how.answers_after_s
                self.tell(e.ContainerStarted(task_id, f"10.0.0.1:{next(self._ports)}"), how.starts_after_s)
                check = self.world.definitions[self.world.tasks[task_id].definition].health_check
                if check is not None:
                    self.tell(e.ContainerHealthChanged(task_id, True), how.starts_after_s + check.interval_s)
            case c.SignalContainer(task_id=task_id):
                self.tell(e.ContainerExited(task_id, 143), how.exits_after_s)
            case c.KillContainer(task_id=task_id):
                self.tell(e.ContainerExited(task_id, 137))
            case c.CheckHealth(node=node, target_id=target_id):
                is_up = self.now >= self._up_at[self.world.targets[target_id].task_id]
                self.tell(e.HealthCheckAnswered(node, target_id, self._status if is_up else None, "connection"))
            case _:
                pass


def _life(task: Task, stage: _Stage, trigger: float) -> TaskLife:
    """As a verdict has it, counted from the trigger."""
    learned = stage.learned.get(task.id)
    life = TaskLife(
        task_id=task.id,
        first_seen_at=task.created_at,
        target_id=task.address,
        registered_at=task.registered_at,
        healthy_at=stage.healthy_at.get(task.id),
        running_at=task.started_at,
        decided_at=task.stop_decided_at,
        deregistered_at=task.deregistered_at,
        draining_at=stage.draining_at.get(task.id),
        obeyed_at=max(learned) if learned else None,
        unused_at=stage.unused_at.get(task.id),
        sigterm_at=task.stopping_at,
        sigkill_at=task.killed_at,
        exited_at=task.execution_stopped_at,
        exit_code=task.exit_code,
        stopped_at=task.stopped_at,
    )
    times = {name: value - trigger for name, value in vars(life).items() if name.endswith("_at") and value is not None}
    return replace(life, **times)
