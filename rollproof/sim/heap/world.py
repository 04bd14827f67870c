"""The heap world: the core alone, driven through virtual time by a heap of what happens next.

    heap = HeapWorld(settings)
    heap.run_until_steady()
    heap.update(force_new_deployment=True).run_until_steady()

Nothing sleeps and nothing is drawn by chance here: containers do what their `Behaviour` says. What is known to change
nothing is passed over (`skips_idle`): a health check of a target that is healthy and whose container passes its checks
for as long as it stays as it is, and a pass of the scheduler between two points in time at which it could decide
otherwise. Both come back at the very time at which they would have come, as soon as something happens to them; so every
status, event and signal has the time it has without (tests/sim/test_heap_world.py plays both and compares).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any, ClassVar, Self

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import target_group as tg
from rollproof.core.decide import due_steps, target_wakeup, task_wakeup
from rollproof.core.records import Overlay, put, replace
from rollproof.core.service import decide_service
from rollproof.core.service_quiet import quiet_until
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.world import World, apply, create_world
from rollproof.sim.heap.agenda import Agenda, Kind
from rollproof.sim.heap.containers import Behaviour, Containers

MOST_STEPS_AT_ONE_TIME = 1_000
MANY = 64
"""From so many tasks on, the world keeps them and their targets as overlays."""

Happened = e.Event | c.Command
Check = Callable[[World, Happened, World, float], None]
"""Called after each step with the world before, what happened, the world after and the time. Raises if it is wrong."""


class NotReached(AssertionError):
    """A condition that was waited for does not come. The text tells the events until then."""


@dataclass
class HeapWorld:
    settings: Settings = field(default_factory=Settings)
    timing: Timing = field(default_factory=Timing)
    seed: int = 7
    behaviours: dict[str, Behaviour] = field(default_factory=dict)  # by name of the task definition
    checks: list[Check] = field(default_factory=list)
    skips_idle: bool = True
    now: float = 0.0
    follows_views: ClassVar[bool] = False  # wakes too when only a node's view changes
    plays_own_checks: ClassVar[bool] = True  # of containers; else they say only what is told

    def __post_init__(self) -> None:
        self.world: World = create_world(self.settings, self.timing, self.seed, self.now)
        self.containers = Containers(self.behaviours)
        self.steps = 0  # applied so far
        self.listeners: list[Callable[[str, float], None]] = []  # told of a task that behaves otherwise from now on
        self._queue: list[tuple[float, int, e.Event]] = []
        self._own_checks: dict[str, set[int]] = {}  # task -> which entries of the queue its own health check will say
        self._void: set[int] = set()  # entries of the queue that are not to come true
        self._sequence = count()
        self._agenda = Agenda()
        self._parked: dict[str, dict[str, float]] = {}  # target -> node -> when it would have checked
        self._quiet: tuple[World | None, float] = (None, 0.0)  # (a world, until when its scheduler has nothing to do)
        self._keep_many()

    # -- driving ---------------------------------------------------------------------------------------

    def tell(self, event: e.Event, after_s: float = 0.0) -> Self:
        self._push(event, after_s)
        return self

    def _push(self, event: e.Event, after_s: float) -> int:
        number = next(self._sequence)
        heapq.heappush(self._queue, (self.now + after_s, number, event))
        return number

    def update(self, **asked: Any) -> Self:
        """UpdateService, now."""
        return self.tell(e.ServiceUpdateRequested(**asked)).run(0)

    def deploy(self, number: int, behaviour: Behaviour | None = None, **changes: Any) -> Self:
        """UpdateService with another revision of the task definition, now."""
        definition = replace(self.world.settings.task_definition, revision=number, **changes)
        if behaviour is not None:
            self.behaviours[definition.name] = behaviour
        return self.update(task_definition=definition)

    def behave(self, task_id: str, how: Behaviour) -> Self:
        """From now on this task's container behaves so."""
        self.containers.exceptions[task_id] = how
        self._wake_checks(self.world.tasks[task_id].address)
        self._tell_own_checks(task_id)
        for listener in self.listeners:
            listener(task_id, self.now)
        return self

    def run(self, for_s: float) -> Self:
        end = self.now + for_s
        self._settle()
        while (at := self._next_at(end)) <= end:
            self.now = at
            self._settle()
        self.now = end
        return self

    def run_until(self, condition: Callable[[World], bool], at_most_s: float = 7200.0) -> Self:
        """To the first moment at which `condition` holds. Raises NotReached if that does not come."""
        end = self.now + at_most_s
        self._settle()
        while not condition(self.world):
            self.now = self._next_at(end)
            if self.now > end:
                raise NotReached(f"not within {at_most_s} s" + self._why())
            self._settle()
        return self

    def run_until_steady(self) -> Self:
        return self.run_until(lambda world: world.is_steady)

    def _why(self) -> str:
        return ":\n" + "\n".join(f"{x.at:8.1f}  {x.message}" for x in self.world.service_events)

    def copy(self, seed: int) -> HeapWorld:
        """Another one that goes on from here, with another seed's draws. Checks and listeners do not come along."""
        other = HeapWorld(self.settings, self.timing, seed, dict(self.behaviours), [], self.skips_idle, self.now)
        other.world = replace(self.world, seed=seed)
        other.containers = self.containers.copy(other.behaviours)
        other._queue, other._sequence = list(self._queue), copy(self._sequence)
        other._agenda = self._agenda.copy()
        other._parked = {target: dict(nodes) for target, nodes in self._parked.items()}
        other._own_checks = {task: set(numbers) for task, numbers in self._own_checks.items()}
        other._void = set(self._void)
        return other

    # -- one turn ----------------------------------------------------------------------------------------

    def _next_at(self, end: float) -> float:
        told = self._queue[0][0] if self._queue else inf
        other = min(told, self._agenda.next_at())
        self._pass_over_idle_passes(min(other, end))
        return max(self.now, min(other, self.world.next_tick_at))

    def _pass_over_idle_passes(self, end: float) -> None:
        world, until = self._quiet
        if world is not self.world or not self.skips_idle:
            return
        at, tick_s, end = world.next_tick_at, world.timing.scheduler_tick_s, min(until, end)
        if at >= end or tick_s <= 0:
            return
        while at < end:
            at += tick_s
        self.world = replace(world, next_tick_at=at)
        self._quiet = (self.world, until)

    def _settle(self) -> None:
        queue, is_idle = self._queue, True
        while queue and queue[0][0] <= self.now:
            _, number, event = heapq.heappop(queue)
            if number not in self._void:
                self._apply(event)
        for _ in range(MOST_STEPS_AT_ONE_TIME):
            commands = self._due()
            if not commands:
                commands = decide_service(self.world, self.now)
                if not commands:
                    return self._settled()
                ends = isinstance(commands[0], c.ScheduleTick)
                is_idle &= ends
            else:
                ends = False
            for command in commands:
                self._apply(command)
                self._act(command)
            if ends and is_idle and self.skips_idle:
                self._quiet = (self.world, quiet_until(self.world, self.now))
        raise AssertionError(f"decide does not come to rest: {commands}")

    def _due(self) -> list[c.Command]:
        if self._agenda.next_at() > self.now:
            return []
        world = self.world
        tasks, targets = self._agenda.take(self.now)
        found = due_steps(world, [world.tasks[x] for x in tasks], [world.targets[x] for x in targets], self.now)
        acted = {getattr(x, "task_id", "") or getattr(x, "target_id", "") for x in found}
        for task_id in tasks:
            if task_id not in acted:
                self._put_task(task_id)
        for target_id in targets:
            if target_id not in acted:
                self._put_target(world.targets[target_id])
        return found

    def _apply(self, happened: Happened) -> None:
        before = self.world
        self.steps += 1
        after = self.world = apply(before, happened, self.now)
        if after is not before:
            self._note(before, happened)
        for check in self.checks:
            check(before, happened, self.world, self.now)

    def _act(self, command: c.Command) -> None:
        for after_s, event in self.containers.act(self.world, command, self.now):
            self.tell(event, after_s)
        if isinstance(command, c.StartContainer):
            self._tell_own_checks(command.task_id)

    def _tell_own_checks(self, task_id: str) -> None:
        """What the container's own health check will say; what it was to say before is void."""
        if not self.plays_own_checks:
            return
        self._void |= self._own_checks.pop(task_id, set())
        for after_s, healthy in self.containers.own_checks(self.world, self.world.tasks[task_id], self.now):
            number = self._push(e.ContainerHealthChanged(task_id, healthy), after_s)
            self._own_checks.setdefault(task_id, set()).add(number)

    def _settled(self) -> None:
        """Nothing is left to do at this time."""

    # -- what a step makes due -----------------------------------------------------------------------------

    def _note(self, before: World, happened: Happened) -> None:
        match happened:
            case c.CheckHealth(target_id=target_id):
                self._put_target(self.world.targets[target_id])
            case e.HealthCheckAnswered(target_id=target_id, node=node):
                self._park(target_id, node)
                self._put_target(self.world.targets[target_id])
            case c.RegisterTarget(task_id=task_id) | c.DeregisterTarget(task_id=task_id):
                self._put_task(task_id)
                address = self.world.tasks[task_id].address
                self._parked.pop(address, None)
                self._put_target(self.world.targets[address])
            case c.RemoveTarget(target_id=target_id):
                self._agenda.put(Kind.TARGET, target_id, inf)
                self._put_task(before.targets[target_id].task_id)
            case e.ContainerExited(task_id=task_id):
                self._put_task(task_id)
                self._wake_checks(self.world.tasks[task_id].address)
            case e.ServiceUpdateRequested():
                self._keep_many()
            case e.NodeLagChanged():
                for target in self.world.targets.values():
                    self._put_target(target)
            case _:
                if (task_id := getattr(happened, "task_id", "")) in self.world.tasks:
                    self._put_task(task_id)

    def _put_task(self, task_id: str) -> None:
        self._agenda.put(Kind.TASK, task_id, task_wakeup(self.world, self.world.tasks[task_id]))

    def _put_target(self, target: tg.Target) -> None:
        rules = self.world.rules
        at = target_wakeup(target, rules)
        if self.follows_views:
            at = min([at, *(x for x in tg.view_times(target, rules) if x > self.now)])
        self._agenda.put(Kind.TARGET, target.id, at)

    def _keep_many(self) -> None:
        if self.world.settings.service.desired_count > MANY and not isinstance(self.world.tasks, Overlay):
            self.world = replace(self.world, tasks=Overlay(self.world.tasks), targets=Overlay(self.world.targets))

    # -- checks that change nothing ---------------------------------------------------------------------------

    def _park(self, target_id: str, node_id: str) -> None:
        """This node checks no more, if all it would hear is what it knows."""
        target = self.world.targets[target_id]
        node = target.nodes[node_id]
        if not self.skips_idle or node.state is not tg.TargetState.HEALTHY or target.draining_at is not None:
            return
        if not self.containers.passes_checks(self.world, self.world.tasks[target.task_id], self.now):
            return
        self._parked.setdefault(target_id, {})[node_id] = node.next_check_at
        self._set_checks(target, {node_id: inf})

    def _wake_checks(self, target_id: str) -> None:
        """Nodes that were spared their checks go on with them, each in its own phase."""
        parked, target = self._parked.pop(target_id, {}), self.world.targets.get(target_id)
        if not parked or target is None:
            return
        interval_s = self.world.settings.target_group.health_check.interval_s
        for node_id, at in parked.items():
            while at < self.now:
                at += interval_s  # noqa: PLW2901
            parked[node_id] = at
        self._put_target(self._set_checks(target, parked))

    def _set_checks(self, target: tg.Target, checks: Mapping[str, float]) -> tg.Target:
        nodes = {key: replace(target.nodes[key], next_check_at=at) for key, at in checks.items()}
        changed = replace(target, nodes={**target.nodes, **nodes})
        self.world = replace(self.world, targets=put(self.world.targets, target.id, changed))
        return changed
