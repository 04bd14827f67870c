"""The one question the shell asks: what is to be done now, and when to ask again.

`decide` is a function of the world and the time. Timers are data: `next_wakeup` says when something changes by
itself. What only takes time (a network interface, an image pull, a kill after the stop timeout) is decided
here; what needs judgement is decided in service.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from rollproof.core import commands as c
from rollproof.core import target_group as tg
from rollproof.core.names import target_group_arn
from rollproof.core.routing_table import RoutingTable
from rollproof.core.service import decide_service
from rollproof.core.spot import killed_at
from rollproof.core.task import Task, TaskStatus
from rollproof.core.world import World


def decide(world: World, now: float) -> list[c.Command]:
    """What is to be done at `now`. Apply all of it, then ask again; an empty list means: wait."""
    return due_steps(world, world.tasks.values(), world.targets.values(), now) or decide_service(world, now)


def due_steps(world: World, tasks: Iterable[Task], targets: Iterable[tg.Target], now: float) -> list[c.Command]:
    """What is due of these tasks and targets only because of the time. A shell that keeps their `wakeup`s asks about
    those that are due and no others; then the order is that of the tasks and targets in the world."""
    found = [command for task in tasks if (command := _next_step(world, task, now)) is not None]
    rules = world.rules
    for target in targets:
        found += _target_steps(target, now, rules)
    return found


def task_wakeup(world: World, task: Task) -> float:
    """When this task's next step is due that only takes time. It changes with the task, and when a target goes."""
    return min((at for at, _ in _timers(world, task)), default=inf)


def target_wakeup(target: tg.Target, rules: tg.Rules) -> float:
    """When this target is next to be acted on."""
    return min(tg.due_times(target, rules), default=inf)


def next_wakeup(world: World, now: float) -> float:
    """The earliest point in time from `now` on at which `decide`, or the routing table, changes without an event.

    `now` itself where something is due already: time passes while a shell acts on what was decided.
    """
    due = [world.next_tick_at]
    for task in world.tasks.values():
        due += [at for at, _ in _timers(world, task)]
    rules = world.rules
    for target in world.targets.values():
        due += tg.due_times(target, rules)
        due += [at for at in tg.view_times(target, rules) if at > now]
    return max(now, min(due))


def routing_table(world: World, now: float, generation: int) -> RoutingTable:
    """The full table as each node sees it at `now`."""
    group, rules = world.settings.target_group, world.rules
    return RoutingTable(
        generation=generation,
        nodes=tuple(tg.node_table(world.targets, node, now, rules) for node in rules.node_ids),
        algorithm=group.algorithm,
        stickiness=group.stickiness,
        slow_start_s=group.slow_start_s,
        load_balancer=world.settings.load_balancer,
        target_group_arn=target_group_arn(world.settings.service, group),
        platform=world.settings.platform,
    )


def _next_step(world: World, task: Task, now: float) -> c.Command | None:
    return next((command for at, command in _timers(world, task) if now >= at), None)


def _timers(world: World, task: Task) -> Iterator[tuple[float, c.Command]]:
    """(when, what) of this task's next step that only takes time. Figures: section 2.4 of the timings."""
    timing = world.timing
    match task.known:
        case TaskStatus.PROVISIONING:
            yield task.created_at + timing.eni_attach_s, c.AdvanceTask(task.id, TaskStatus.PENDING)
        case TaskStatus.PENDING if task.pull_started_at is None:
            yield task.created_at + timing.pull_start_s, c.NotePullStarted(task.id)
        case TaskStatus.PENDING:
            yield task.created_at + timing.pull_stop_s, c.StartContainer(task.id)
        case TaskStatus.ACTIVATING if task.address and task.pull_stopped_at is not None:
            running = c.AdvanceTask(task.id, TaskStatus.RUNNING)
            if not world.settings.service.has_load_balancer:
                yield task.pull_stopped_at + timing.running_after_pull_s, running
            elif task.registered_at is not None:
                yield task.registered_at + timing.running_after_registration_s, running
        case TaskStatus.STOPPING if task.stopping_at is not None and task.address:
            if not task.signalled:
                yield task.stopping_at, c.SignalContainer(task.id)
            elif task.killed_at is None:
                yield killed_at(world, task, task.stopping_at), c.KillContainer(task.id)
        case TaskStatus.DEPROVISIONING if task.execution_stopped_at is not None:
            yield task.execution_stopped_at + timing.deprovisioning_s, c.AdvanceTask(task.id, TaskStatus.STOPPED)
        case TaskStatus.STOPPED if task.stopped_at is not None and _may_remove(world, task):
            yield task.stopped_at, c.RemoveContainer(task.id)
        case _:
            return


def _may_remove(world: World, task: Task) -> bool:
    """Its address must not be given to another task while the old one's target still drains."""
    return not task.container_removed and task.address not in world.targets


def _target_steps(target: tg.Target, now: float, rules: tg.Rules) -> list[c.Command]:
    end = tg.drained_at(target, rules)
    if end is not None:
        return [c.RemoveTarget(target.id)] if now >= end else []
    return [c.CheckHealth(node_id, target.id) for node_id, at in tg.check_times(target, rules).items() if now >= at]
