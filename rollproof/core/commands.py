"""What is to be done: frozen orders in the imperative, returned by `decide`.

Each is applied to the world as soon as it is issued (`apply` takes commands and events alike), so a decision
is never made twice; those marked *acts* are also executed by the shell.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.task import StopCode, TaskStatus

# --- tasks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StartTask:
    """Create a task record, PROVISIONING. `number` is the counter its id was made from."""

    task_id: str
    number: int
    deployment_number: str
    availability_zone: str
    replaces: str = ""
    rebalances: bool = False  # in addition to the desired count, until one of a fuller zone can go


@dataclass(frozen=True)
class StopTask:
    """The scheduler's decision to stop. `scales_in` lowers the deployment's own desired count with it."""

    task_id: str
    stop_code: StopCode
    reason: str
    scales_in: bool = False


@dataclass(frozen=True)
class AdvanceTask:
    """A move that only takes time, or an answer that has come."""

    task_id: str
    to: TaskStatus


@dataclass(frozen=True)
class NotePullStarted:
    task_id: str


@dataclass(frozen=True)
class JudgeUnhealthy:
    """The scheduler will replace this task. `reason` becomes its stoppedReason."""

    task_id: str
    reason: str


@dataclass(frozen=True)
class NoteHealthy:
    """First time this task is healthy: its deployment's failures are forgiven."""

    task_id: str


@dataclass(frozen=True)
class CountFailure:
    """`failedTasks` + 1. API-ECS Deployment.failedTasks."""

    task_id: str


@dataclass(frozen=True)
class StartContainer:
    """*acts*"""

    task_id: str


@dataclass(frozen=True)
class SignalContainer:
    """*acts* Send the stop signal; the task is STOPPING from here."""

    task_id: str


@dataclass(frozen=True)
class KillContainer:
    """*acts* SIGKILL: the stop timeout is over."""

    task_id: str


@dataclass(frozen=True)
class RemoveContainer:
    """*acts* The task is STOPPED and nothing of it is needed any more."""

    task_id: str


# --- targets ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegisterTarget:
    task_id: str


@dataclass(frozen=True)
class DeregisterTarget:
    task_id: str


@dataclass(frozen=True)
class AnnounceDraining:
    """Marks that "has begun draining connections" was said for this task."""

    task_id: str


@dataclass(frozen=True)
class RemoveTarget:
    """*acts* The full delay is over: the balancer cuts what is left on it."""

    target_id: str


@dataclass(frozen=True)
class CheckHealth:
    """*acts* One node asks one target."""

    node: str
    target_id: str


# --- deployments and the service -----------------------------------------------------------------------


@dataclass(frozen=True)
class SetDeploymentDesired:
    deployment_number: str
    desired_count: int


@dataclass(frozen=True)
class CompleteDeployment:
    deployment_number: str


@dataclass(frozen=True)
class FailDeployment:
    deployment_number: str


@dataclass(frozen=True)
class RollBack:
    """The last completed deployment becomes PRIMARY again under its own id; the failed one ACTIVE. O6."""


@dataclass(frozen=True)
class RetireDeployment:
    """ACTIVE -> INACTIVE: its last task is gone."""

    deployment_number: str


@dataclass(frozen=True)
class SetSteady:
    is_steady: bool


@dataclass(frozen=True)
class EmitServiceEvent:
    """*acts* A service event in ECS's words."""

    message: str


@dataclass(frozen=True)
class ScheduleTick:
    """This pass of the scheduler is over."""

    at: float


Command = (
    StartTask
    | StopTask
    | AdvanceTask
    | NotePullStarted
    | JudgeUnhealthy
    | NoteHealthy
    | CountFailure
    | StartContainer
    | SignalContainer
    | KillContainer
    | RemoveContainer
    | RegisterTarget
    | DeregisterTarget
    | AnnounceDraining
    | RemoveTarget
    | CheckHealth
    | SetDeploymentDesired
    | CompleteDeployment
    | FailDeployment
    | RollBack
    | RetireDeployment
    | SetSteady
    | EmitServiceEvent
    | ScheduleTick
)
