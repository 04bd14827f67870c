"""The life of a task: its statuses, the moves between them, and what each move writes down.

    PROVISIONING -> PENDING -> ACTIVATING -> RUNNING -> DEACTIVATING -> STOPPING -> DEPROVISIONING -> STOPPED

ECS-DG/task-lifecycle. `known` is where a task is, `desired` where the scheduler wants it; the two differ for
minutes while a task drains. ACTIVATING starts the container and registers the target, so clients can reach a
task that is not yet RUNNING (O3). DEACTIVATING deregisters it and waits the *full* deregistration delay, and
only then does STOPPING send the stop signal (ECS-DG/update-service, O1): the container learns nothing of a
drain while it drains.

This file knows no scheduler: who stops a task, and when, is decided in service.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from rollproof.core.errors import IllegalTransition
from rollproof.core.records import replace


class TaskStatus(IntEnum):
    """`lastStatus`, ordered as a task passes through it."""

    PROVISIONING = 1
    PENDING = 2
    ACTIVATING = 3
    RUNNING = 4
    DEACTIVATING = 5
    STOPPING = 6
    DEPROVISIONING = 7
    STOPPED = 8


class DesiredStatus(StrEnum):
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class StopCode(StrEnum):
    """API-ECS TaskStopCode, as far as a rehearsal produces them."""

    TASK_FAILED_TO_START = "TaskFailedToStart"
    ESSENTIAL_CONTAINER_EXITED = "EssentialContainerExited"
    USER_INITIATED = "UserInitiated"
    SERVICE_SCHEDULER_INITIATED = "ServiceSchedulerInitiated"
    SPOT_INTERRUPTION = "SpotInterruption"


S = TaskStatus
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    S.PROVISIONING: frozenset({S.PENDING, S.DEPROVISIONING}),
    S.PENDING: frozenset({S.ACTIVATING, S.DEPROVISIONING}),
    S.ACTIVATING: frozenset({S.RUNNING, S.DEACTIVATING, S.STOPPING, S.DEPROVISIONING}),
    S.RUNNING: frozenset({S.DEACTIVATING, S.STOPPING, S.DEPROVISIONING}),
    S.DEACTIVATING: frozenset({S.STOPPING, S.DEPROVISIONING}),
    S.STOPPING: frozenset({S.DEPROVISIONING}),
    S.DEPROVISIONING: frozenset({S.STOPPED}),
    S.STOPPED: frozenset(),
}
"""From -> to. A pair that is absent is illegal: a task never returns, and never skips the drain by accident."""


@dataclass(frozen=True)
class Task:
    """One task. Points in time are seconds since the stage started, None until they happen."""

    id: str
    deployment_id: str
    definition: str  # TaskDefinition.name
    availability_zone: str
    created_at: float
    replaces: str = ""  # the unhealthy task that this one was started for
    rebalances: bool = False  # started in addition, to move a task of a fuller zone
    known: TaskStatus = TaskStatus.PROVISIONING
    desired: DesiredStatus = DesiredStatus.RUNNING
    address: str = ""  # host:port; also the target's id
    connectivity_at: float | None = None
    pull_started_at: float | None = None
    pull_stopped_at: float | None = None
    registered_at: float | None = None
    started_at: float | None = None
    stop_decided_at: float | None = None
    deregistered_at: float | None = None
    drain_announced: bool = False
    stopping_at: float | None = None
    signalled: bool = False
    killed_at: float | None = None
    execution_stopped_at: float | None = None
    stopped_at: float | None = None
    container_healthy: bool | None = None  # the container's own healthCheck, None before its first answer
    unhealthy_reason: str = ""  # set once, when the scheduler judged it unhealthy
    was_healthy: bool = False
    container_removed: bool = False
    crashed: bool = False  # its container ended while it was wanted
    failure_counted: bool = False
    exit_code: int | None = None
    stop_code: StopCode | None = None
    stopped_reason: str = ""
    protected_until: float | None = None

    @property
    def is_wanted(self) -> bool:
        return self.desired is DesiredStatus.RUNNING

    @property
    def is_draining_due(self) -> bool:
        """Registered, and either told to stop or crashed, but not yet deregistered."""
        return self.registered_at is not None and self.deregistered_at is None and not self.is_wanted

    @property
    def has_container(self) -> bool:
        """A process is up or may be coming up: the runtime has to be told before this task can end."""
        return self.pull_stopped_at is not None and self.execution_stopped_at is None

    def is_protected(self, now: float) -> bool:
        return self.protected_until is not None and now < self.protected_until


def move(task: Task, to: TaskStatus, now: float) -> Task:
    """`task` in status `to`, with that status's timestamp. Raises IllegalTransition if the table lacks the pair."""
    if to not in TRANSITIONS[task.known]:
        raise IllegalTransition(f"task {task.id}", task.known.name, to.name)
    moved = replace(task, known=to)
    match to:
        case S.PENDING:
            return replace(moved, connectivity_at=now)
        case S.ACTIVATING:
            return replace(moved, pull_stopped_at=now)
        case S.RUNNING:
            return replace(moved, started_at=now)
        case S.STOPPING:
            return replace(moved, stopping_at=now)
        case S.DEPROVISIONING:
            return replace(moved, execution_stopped_at=now)
        case S.STOPPED:
            return replace(moved, stopped_at=now)
        case _:
            return moved


def decide_stop(task: Task, stop_code: StopCode, reason: str, *, drains: bool, now: float) -> Task:
    """The decision to stop: desired STOPPED at once, known as far as the lifecycle lets it.

    A task without a container is deprovisioned directly. One with a container becomes DEACTIVATING, or
    STOPPING when it is not to drain (StopTask as it was before Feb 2023: CR#708). Asked twice, the first holds.
    """
    if not task.is_wanted:
        return task
    stopped = replace(
        task, desired=DesiredStatus.STOPPED, stop_code=stop_code, stopped_reason=reason, stop_decided_at=now
    )
    if not task.has_container:
        return move(stopped, S.DEPROVISIONING, now)
    return move(stopped, S.DEACTIVATING if drains else S.STOPPING, now)


def container_ended(task: Task, exit_code: int | None, reason: str, stop_code: StopCode, now: float) -> Task:
    """The process is gone, or never came. A crash where the task was wanted; the expected end where it was not.

    Reported again (runtimes report at least once), nothing changes.
    """
    if task.known >= S.DEPROVISIONING:
        return task
    ended = replace(move(task, S.DEPROVISIONING, now), exit_code=exit_code)
    if task.stopping_at is None:
        ended = replace(ended, stopping_at=now)
    if not task.is_wanted:
        return ended
    return replace(
        ended,
        desired=DesiredStatus.STOPPED,
        crashed=True,
        stop_code=stop_code,
        stopped_reason=reason,
        stop_decided_at=now,
    )
