"""What happened: frozen facts in the past tense. `apply` folds them into the world.

Runtimes report the container events, the health checker its answers, the API its requests. Times are
not inside: the loop passes the `now` at which it learned of an event.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.core.settings import TaskDefinition

# --- from a runtime ---------------------------------------------------------------------------


@dataclass(frozen=True)
class ContainerStarted:
    """The task's process exists. `address` is host:port where it is to be reached."""

    task_id: str
    address: str


@dataclass(frozen=True)
class ContainerStartFailed:
    """It never came to be. `reason` in ECS's words, e.g. "CannotPullContainerError: ..."."""

    task_id: str
    reason: str


@dataclass(frozen=True)
class ContainerExited:
    """The process is gone. `exit_code` as ECS shows it: 143 died of SIGTERM, 137 of SIGKILL."""

    task_id: str
    exit_code: int
    reason: str = ""  # e.g. "OutOfMemoryError: container killed due to memory usage"


@dataclass(frozen=True)
class ContainerHealthChanged:
    """Answer of the container's own `healthCheck`: HEALTHY or UNHEALTHY."""

    task_id: str
    healthy: bool


@dataclass(frozen=True)
class TaskProtectionChanged:
    """A task asked for scale-in protection through its agent endpoint, or gave it back."""

    task_id: str
    enabled: bool
    expires_in_minutes: int = 120


# --- from the load balancer's health checker -----------------------------------------------------


@dataclass(frozen=True)
class HealthCheckAnswered:
    """One node's check of one target. `status` is the HTTP status; None means none came.

    `failure` then says why: "timeout" or "connection" (ALB's Target.Timeout, Target.FailedHealthChecks).
    """

    node: str
    target_id: str
    status: int | None
    failure: str = ""


# --- asked of the control plane --------------------------------------------------------------------


@dataclass(frozen=True)
class ServiceUpdateRequested:
    """UpdateService. None leaves a setting as it is. API-ECS UpdateServiceRequest."""

    task_definition: TaskDefinition | None = None
    force_new_deployment: bool = False
    desired_count: int | None = None
    minimum_healthy_percent: int | None = None
    maximum_percent: int | None = None
    health_check_grace_period_s: float | None = None


@dataclass(frozen=True)
class TaskStopRequested:
    """StopTask. `reason` is appended to "Task stopped by user" as ECS does."""

    task_id: str
    reason: str = ""


# --- from below: what becomes of AWS's own machines ---------------------------------------------------


@dataclass(frozen=True)
class SpotInterrupted:
    """Fargate Spot takes a task's capacity back; two minutes from now it is gone."""

    task_id: str


@dataclass(frozen=True)
class ZoneAvailabilityChanged:
    """An Availability Zone can place no task any more, or can again. What runs there is not touched by that."""

    zone: str
    is_available: bool


@dataclass(frozen=True)
class NodeLagChanged:
    """A load balancer node learns of draining `lag_s` later than the others; 0: with them again."""

    node: str
    lag_s: float


ContainerEvent = (
    ContainerStarted | ContainerStartFailed | ContainerExited | ContainerHealthChanged | TaskProtectionChanged
)
RequestedEvent = ServiceUpdateRequested | TaskStopRequested
InfrastructureEvent = SpotInterrupted | ZoneAvailabilityChanged | NodeLagChanged
Event = ContainerEvent | HealthCheckAnswered | RequestedEvent | InfrastructureEvent
