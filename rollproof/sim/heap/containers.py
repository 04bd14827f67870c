"""Containers as a simulation has them: no process, only what one would do and when."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import count
from math import ceil, inf

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.matcher import matcher_accepts
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World

CHECK_ANSWER_S = 0.01
"""From a health check to its answer; one that hangs is given up at the timeout."""


@dataclass(frozen=True)
class Behaviour:
    """How a container behaves. Seconds are virtual ones."""

    starts_after_s: float | None = 1.0  # None: ContainerStartFailed
    answers_after_s: float = 0.5  # once started; then health checks get `health_status`
    health_status: int | None = 200  # None: no answer in time
    exits_on_sigterm_after_s: float | None = 0.2  # None: ignores SIGTERM
    crashes_after_s: float | None = None
    exit_code: int = 143


GOOD = Behaviour()


class Containers:
    """What becomes of orders. `definitions` are behaviours by name of the task definition; `exceptions`, by task id, go
    before them."""

    def __init__(self, definitions: dict[str, Behaviour]) -> None:
        self.definitions = definitions
        self.exceptions: dict[str, Behaviour] = {}
        self.started_at: dict[str, float] = {}  # by task id: when its process is there
        self._addresses = count(8001)

    def copy(self, definitions: dict[str, Behaviour]) -> Containers:
        other = Containers(definitions)
        other.exceptions, other.started_at = dict(self.exceptions), dict(self.started_at)
        other._addresses = copy(self._addresses)
        return other

    def behaviour_of(self, task: Task) -> Behaviour:
        return self.exceptions.get(task.id) or self.definitions.get(task.definition, GOOD)

    def act(self, world: World, command: c.Command, now: float) -> Iterator[tuple[float, e.Event]]:
        """(after how many seconds, what) comes of `command`."""
        match command:
            case c.StartContainer(task_id=task_id):
                yield from self._start(task_id, self.behaviour_of(world.tasks[task_id]), now)
            case c.SignalContainer(task_id=task_id):
                how = self.behaviour_of(world.tasks[task_id])
                if how.exits_on_sigterm_after_s is not None:
                    yield how.exits_on_sigterm_after_s, e.ContainerExited(task_id, how.exit_code)
            case c.KillContainer(task_id=task_id):
                yield 0.0, e.ContainerExited(task_id, 137)
            case c.CheckHealth(node=node, target_id=target_id):
                answer = self._answer(world, node, target_id, now)
                hangs = answer.status is None and answer.failure == "timeout"
                yield world.settings.target_group.health_check.timeout_s if hangs else CHECK_ANSWER_S, answer
            case _:
                pass

    def _start(self, task_id: str, how: Behaviour, now: float) -> Iterator[tuple[float, e.Event]]:
        if how.starts_after_s is None:
            yield 0.0, e.ContainerStartFailed(task_id, "CannotPullContainerError: not found")
            return
        number = next(self._addresses)
        host, port = divmod(number, 50_000)  # 10.0.0.1:8001 and on; beyond 50,000 the next host
        yield how.starts_after_s, e.ContainerStarted(task_id, f"10.0.0.{1 + host}:{port}")
        self.started_at[task_id] = now + how.starts_after_s
        if how.crashes_after_s is not None:
            yield how.starts_after_s + how.crashes_after_s, e.ContainerExited(task_id, 1)

    def _answer(self, world: World, node: str, target_id: str, now: float) -> e.HealthCheckAnswered:
        task = world.tasks[world.targets[target_id].task_id]
        if not self.listens(task, now):
            return e.HealthCheckAnswered(node, target_id, None, "connection")
        return e.HealthCheckAnswered(node, target_id, self.behaviour_of(task).health_status, "timeout")

    def own_checks(self, world: World, task: Task, now: float) -> Iterator[tuple[float, bool]]:
        """(after how many seconds, healthy) its own health check will say from now on, if its behaviour stays as it is.

        Counted as Docker counts: a check every interval from its start; `retries` failures in a row are UNHEALTHY, but
        for those within the start period. Its command is taken to ask the server what the balancer asks it.
        """
        check, started_at = world.definitions[task.definition].health_check, self.started_at.get(task.id)
        if check is None or started_at is None:
            return
        how, failures = self.behaviour_of(task), 0
        passes_from_s = how.answers_after_s if self._accepts(world, how.health_status) else inf
        number = max(1, ceil((now - started_at) / check.interval_s))
        while failures < check.retries and number * check.interval_s < passes_from_s:
            failures += number * check.interval_s >= check.start_period_s
            number += 1
        if failures >= check.retries:
            yield started_at + (number - 1) * check.interval_s - now, False
        if passes_from_s < inf:
            number = max(number, ceil(passes_from_s / check.interval_s))
            yield started_at + number * check.interval_s - now, True

    def _accepts(self, world: World, status: int | None) -> bool:
        return status is not None and matcher_accepts(world.settings.target_group.health_check.matcher, status)

    def listens(self, task: Task, now: float) -> bool:
        if task.known >= TaskStatus.DEPROVISIONING:
            return False
        return now >= self.started_at.get(task.id, inf) + self.behaviour_of(task).answers_after_s

    def passes_checks(self, world: World, task: Task, now: float) -> bool:
        """Now, and for as long as its behaviour stays what it is and it does not exit."""
        return self.listens(task, now) and self._accepts(world, self.behaviour_of(task).health_status)
