"""What the tasks, targets and deployments went through: the rollout as a verdict sees it.

A task's life is told in the points of time that matter to its sessions. The decisive one is `left_at`: from
then on no node chooses its target for a new request (for a new session, where sessions stay with their instance). In a
rollout that is when the last ALB node has learned of the draining, long before SIGTERM; with `sticky_overrides_drain`
it is the end of the deregistration delay; for a crash it is the process's exit
(ALB-UG/load-balancer-target-groups, LBC#2366, O2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Protocol, TypeVar

from rollproof.core.platforms import FARGATE
from rollproof.core.settings import Routing
from rollproof.verdict.records import History, NodeChange, Request, TargetChange, TaskChange, as_flag


class _Dated(Protocol):
    @property
    def t(self) -> float: ...


T = TypeVar("T", bound=_Dated)

SAME_MOMENT_S = 0.25
"""Two writers record one event this far apart, at most, on a busy machine. Real seconds."""

STARTING = frozenset({"PROVISIONING", "PENDING", "ACTIVATING"})
ENDED = frozenset({"DEPROVISIONING", "STOPPED"})


class Disruption(StrEnum):
    """What the rehearsal did to the service. The setting "disruption" says so; else it is read off the records."""

    DEPLOYMENT = "deployment"
    ROLLBACK = "rollback"  # a deployment made to fail, so that the circuit breaker rolls it back
    FAULT = "fault"  # a crash, StopTask, ...: tasks are replaced without a deployment
    OUTAGE = "outage"  # what the tasks lean on was away, its memory perhaps with it: no task is replaced
    NONE = "none"


@dataclass(frozen=True)
class TaskLife:
    """One task from its first record to its last; None for what did not happen, or was not written down."""

    task_id: str
    first_seen_at: float
    first_known: str = ""
    target_id: str = ""
    addresses: frozenset[str] = frozenset()
    deployment: str = ""
    registered_at: float | None = None
    healthy_at: float | None = None
    running_at: float | None = None
    decided_at: float | None = None  # desired status STOPPED
    unhealthy_at: float | None = None
    deregistered_at: float | None = None  # a history tells it of the service's tasks together, not of one
    draining_at: float | None = None
    draining_until: float | None = None
    obeyed_at: float | None = None  # every node has learned of the draining
    unused_at: float | None = None
    cut: int = 0
    sigterm_at: float | None = None  # the stop signal, whatever its name
    sigkill_at: float | None = None
    exited_at: float | None = None
    exit_code: int | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""

    @property
    def has_crashed(self) -> bool:
        """The process was gone before anyone drained or signalled it."""
        return self.exited_at is not None and self.exited_at < min(
            at for at in (self.draining_at, self.sigterm_at, inf) if at is not None
        )

    @property
    def leaving_at(self) -> float | None:
        """The first sign that the task is on its way out."""
        signs = (self.decided_at, self.draining_at, self.sigterm_at, self.exited_at, self.stopped_at)
        return min((at for at in signs if at is not None), default=None)

    def left_at(self, sticky_overrides_drain: bool) -> float | None:
        """When no node chose its target any more."""
        if self.has_crashed or self.draining_at is None:
            return self.exited_at if self.exited_at is not None else self.stopped_at
        if sticky_overrides_drain:
            return self.unused_at if self.unused_at is not None else self.draining_until
        return self.obeyed_at if self.obeyed_at is not None else self.draining_at


@dataclass(frozen=True)
class Rollout:
    """The disruption and what came of it. Empty lives and a None trigger where the history is torn."""

    disruption: Disruption
    triggered_at: float | None
    over_at: float
    lives: tuple[TaskLife, ...]
    replaced: tuple[TaskLife, ...]
    new: tuple[TaskLife, ...]
    deployment_id: str
    completed_at: float | None
    failed_at: float | None
    rolls_back: bool  # ECS said that it returns to an earlier deployment
    rolled_back_at: float | None
    steady_at: float | None
    sticky_overrides_drain: bool
    platform: str = FARGATE
    sessions_stay: bool = False  # with their instance, however long it drains: routing by session header

    @property
    def is_on_ecs(self) -> bool:
        """Whether ECS's timings say anything of it."""
        return self.platform.startswith(FARGATE)

    @property
    def ended_at(self) -> float | None:
        """When the disruption was dealt with; None while it was not."""
        if self.disruption in (Disruption.FAULT, Disruption.OUTAGE):
            return self.steady_at
        ends = (self.completed_at, self.rolled_back_at, None if self.rolls_back else self.failed_at)
        return next((at for at in ends if at is not None), None)

    def life(self, task_id: str) -> TaskLife | None:
        return next((life for life in self.lives if life.task_id == task_id), None)

    def left_at(self, life: TaskLife) -> float | None:
        return life.left_at(self.sticky_overrides_drain)


def read_rollout(history: History) -> Rollout:
    """The rollout of `history`; everything after its end (the stage being taken down) is left out."""
    triggered_at, disruption = _trigger(history)
    start = 0.0 if triggered_at is None else triggered_at
    over_at = _over_at(history, start)
    known_before = {d.id for d in history.deployments if d.t < start}
    created = [d for d in history.deployments if d.t >= start and d.status == "PRIMARY" and d.id not in known_before]
    deployment_id = created[0].id if created else ""
    after = [d for d in history.deployments if start <= d.t <= over_at]
    failed_at = _first(after, lambda d: d.id == deployment_id and d.rollout_state == "FAILED")
    completed_at = _first(after, lambda d: d.id == deployment_id and d.rollout_state == "COMPLETED")
    rolled_back_at = None
    if failed_at is not None:
        later = [d for d in after if d.t >= failed_at and d.id != deployment_id]
        rolled_back_at = _first(later, lambda d: d.status == "PRIMARY" and d.rollout_state == "COMPLETED")
    lives = read_lives(history, over_at)
    has_trigger = triggered_at is not None
    return Rollout(
        disruption=disruption,
        triggered_at=triggered_at,
        over_at=over_at,
        lives=lives,
        replaced=tuple(life for life in lives if has_trigger and _is_old(life, start) and _leaves_after(life, start)),
        new=tuple(life for life in lives if has_trigger and not _is_old(life, start)),
        deployment_id=deployment_id,
        completed_at=completed_at,
        failed_at=failed_at,
        rolls_back=any(e.t >= start and "rolling back to deployment" in e.text for e in history.events),
        rolled_back_at=rolled_back_at,
        steady_at=_steady_at(history, start if completed_at is None else completed_at) if has_trigger else None,
        sticky_overrides_drain=as_flag(history.settings.get("behaviour.sticky_overrides_drain")),
        platform=str(history.settings.get("platform") or FARGATE),
        sessions_stay=history.settings.get("platform.routing") == Routing.BY_SESSION_HEADER,
    )


def read_lives(history: History, over_at: float = inf) -> tuple[TaskLife, ...]:
    """Every task that the history names, in order of first sight."""
    tasks: dict[str, list[TaskChange]] = {}
    for change in history.tasks:
        if change.t <= over_at and change.task_id:
            tasks.setdefault(change.task_id, []).append(change)
    nodes = {node.node for node in history.nodes}
    wanted = int(history.setting_s("behaviour.nodes") or len(nodes))
    targets = [target for target in history.targets if target.t <= over_at]
    lives = (_life(task_id, changes, targets, history.nodes, wanted) for task_id, changes in tasks.items())
    return tuple(sorted(lives, key=lambda life: life.first_seen_at))


def target_of(request: Request, lives: Sequence[TaskLife]) -> TaskLife | None:
    """The task that a request was sent to. Ports are handed out again: the latest user of the address counts."""
    users = [life for life in lives if request.target in life.addresses and life.first_seen_at <= request.arrived_at]
    return users[-1] if users else None


def minimum_healthy(history: History, start: float, end: float) -> int | None:
    """The fewest targets that were healthy at once between two points of time; None if none was ever seen."""
    states: dict[str, str] = {}
    lowest: int | None = None
    for change in history.targets:
        if change.t > end:
            break
        if change.t > start and states:
            lowest = _lower(lowest, states)
        states[change.target_id] = change.state
    return _lower(lowest, states) if states else None


def _lower(lowest: int | None, states: dict[str, str]) -> int:
    healthy = sum(state == "healthy" for state in states.values())
    return healthy if lowest is None else min(lowest, healthy)


def _life(
    task_id: str,
    changes: Sequence[TaskChange],
    all_targets: Sequence[TargetChange],
    nodes: Sequence[NodeChange],
    wanted_nodes: int,
) -> TaskLife:
    target_ids = {change.target_id for change in changes if change.target_id}
    targets = [t for t in all_targets if t.task_id == task_id or (not t.task_id and t.target_id in target_ids)]
    target_ids |= {target.target_id for target in targets}
    addresses = {change.address for change in changes if change.address}
    draining_at = _first(targets, lambda t: t.state == "draining")
    after_draining = [t for t in targets if draining_at is not None and t.t >= draining_at]
    exits = [change for change in changes if change.exit_code is not None]
    return TaskLife(
        task_id=task_id,
        first_seen_at=changes[0].t,
        first_known=next((change.known for change in changes if change.known), ""),
        target_id=next(iter(sorted(target_ids)), "") or next(iter(sorted(addresses)), ""),
        addresses=frozenset(target_ids | addresses),
        deployment=_last(change.deployment for change in changes),
        registered_at=_first(targets, lambda t: t.state in ("initial", "healthy")),
        healthy_at=_first(targets, lambda t: t.state == "healthy"),
        running_at=_first(changes, lambda c: c.known == "RUNNING"),
        decided_at=_first(changes, lambda c: c.desired == "STOPPED" or c.known == "DEACTIVATING"),
        unhealthy_at=_first(targets, lambda t: t.state == "unhealthy"),
        draining_at=draining_at,
        draining_until=next((t.draining_until for t in after_draining if t.draining_until is not None), None),
        obeyed_at=_obeyed_at(target_ids, draining_at, nodes, wanted_nodes),
        unused_at=_first(after_draining, lambda t: t.state == "unused"),
        cut=sum(t.cut or 0 for t in after_draining),
        sigterm_at=_first(changes, lambda c: c.signal not in ("", "SIGKILL")),
        sigkill_at=_first(changes, lambda c: c.signal == "SIGKILL"),
        exited_at=_first(changes, lambda c: c.exit_code is not None or c.known in ENDED),
        exit_code=exits[0].exit_code if exits else None,
        stopped_at=_first(changes, lambda c: c.known == "STOPPED"),
        stop_code=_last(change.stop_code for change in changes),
        stopped_reason=_last(change.stopped_reason for change in changes),
    )


def _obeyed_at(ids: set[str], draining_at: float | None, nodes: Sequence[NodeChange], wanted: int) -> float | None:
    """When the last of `wanted` nodes learned of the draining; None if not all of them did."""
    if draining_at is None:
        return None
    learned: dict[str, float] = {}
    for node in nodes:
        if node.target_id in ids and node.t >= draining_at - SAME_MOMENT_S and node.state in ("draining", "unused"):
            learned.setdefault(node.node, node.t)
    return max(learned.values()) if learned and len(learned) >= wanted else None


def _trigger(history: History) -> tuple[float | None, Disruption]:
    """When the disruption began, and which it was."""
    asked = str(history.settings.get("disruption", "")).lower()
    marked = history.mark_at("deployment-triggered")
    fault = history.faults[0].t if history.faults else None
    if asked == Disruption.ROLLBACK:
        return marked, Disruption.ROLLBACK
    if asked == Disruption.OUTAGE:
        return fault, Disruption.OUTAGE
    if asked == Disruption.FAULT or (marked is None and fault is not None):
        return fault, Disruption.FAULT
    if marked is not None:
        return marked, Disruption.DEPLOYMENT
    first = history.deployments[0].id if history.deployments else ""
    other = _first(history.deployments, lambda d: d.status == "PRIMARY" and d.id != first)
    return other, Disruption.NONE if other is None else Disruption.DEPLOYMENT


def _over_at(history: History, start: float) -> float:
    """The rehearsal's own end: after it the stage is taken down, which follows no rule of AWS."""
    ended, steady = history.mark_at("probe-ended"), _first(history.marks, lambda m: m.text == "steady" and m.t >= start)
    if ended is None:
        return inf
    return ended if steady is None else max(ended, steady)


def _steady_at(history: History, start: float) -> float | None:
    spoken = _first(history.events, lambda e: e.t >= start and "has reached a steady state" in e.text)
    marked = _first(history.marks, lambda m: m.t >= start and m.text == "steady")
    return min((at for at in (spoken, marked) if at is not None), default=None)


def _is_old(life: TaskLife, start: float) -> bool:
    """It was there when the disruption began; a torn history shows that by a task that never started in it."""
    return life.first_seen_at < start or life.first_known not in STARTING


def _leaves_after(life: TaskLife, start: float) -> bool:
    """On its way out after `start`; a fault's own victim may be seen to leave in the same moment."""
    return life.leaving_at is not None and life.leaving_at >= start - SAME_MOMENT_S


def _first(changes: Iterable[T], wanted: Callable[[T], bool]) -> float | None:
    return next((change.t for change in changes if wanted(change)), None)


def _last(values: Iterable[str]) -> str:
    return next((value for value in reversed(list(values)) if value), "")
