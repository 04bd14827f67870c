"""A deployment: its statuses, the rolling arithmetic, and when the circuit breaker trips.

    PRIMARY (newest) -> ACTIVE (its tasks are being replaced) -> INACTIVE (fully replaced: vanishes)
    IN_PROGRESS -> COMPLETED | FAILED; a rollback returns a COMPLETED one to PRIMARY / IN_PROGRESS

API-ECS Deployment.status and rolloutState. The percentages round as AWS rounds; a worked example stands
beside each formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from rollproof.core.errors import IllegalTransition
from rollproof.core.records import replace
from rollproof.core.settings import CircuitBreaker, ThresholdType


class DeploymentStatus(StrEnum):
    PRIMARY = "PRIMARY"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class RolloutState(StrEnum):
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


D = DeploymentStatus
R = RolloutState
STATUS_TRANSITIONS: dict[DeploymentStatus, frozenset[DeploymentStatus]] = {
    D.PRIMARY: frozenset({D.ACTIVE}),
    D.ACTIVE: frozenset({D.INACTIVE, D.PRIMARY}),  # PRIMARY again by rollback
    D.INACTIVE: frozenset({D.PRIMARY}),  # the last completed one may be gone already when a later one fails
}
ROLLOUT_TRANSITIONS: dict[RolloutState, frozenset[RolloutState]] = {
    R.IN_PROGRESS: frozenset({R.COMPLETED, R.FAILED}),
    R.COMPLETED: frozenset({R.IN_PROGRESS}),  # by rollback only
    R.FAILED: frozenset(),
}


@dataclass(frozen=True)
class Deployment:
    """`number` is the 19 digits of its id; `revision` those of its service revision."""

    number: str
    revision: str
    definition: str  # TaskDefinition.name
    created_at: float
    updated_at: float
    status: DeploymentStatus = DeploymentStatus.PRIMARY
    rollout_state: RolloutState = RolloutState.IN_PROGRESS
    desired_count: int = 0  # 0 at first. CLI-EX update-service, O7
    failed_tasks: int = 0  # in a row, as the circuit breaker counts them
    start_failures: int = 0  # in a row, never RUNNING: the restart throttle counts them
    next_start_at: float = 0.0
    has_run: bool = False  # one of its tasks reached RUNNING: the breaker's second stage
    is_rolling_back: bool = False

    @property
    def id(self) -> str:
        return f"ecs-svc/{self.number}"

    @property
    def rollout_state_reason(self) -> str:
        """O7, CLI-EX; the failure's wording: ECS-DG/ecs_cwe_events."""
        match self.rollout_state:
            case R.IN_PROGRESS if self.is_rolling_back:
                return f"ECS deployment circuit breaker: rolling back to deploymentId {self.id}."
            case R.IN_PROGRESS:
                return f"ECS deployment {self.id} in progress."
            case R.COMPLETED:
                return f"ECS deployment {self.id} completed."
            case _:
                return "ECS deployment circuit breaker: tasks failed to start."


def with_status(deployment: Deployment, status: DeploymentStatus, now: float) -> Deployment:
    """Raises IllegalTransition if the table lacks the pair."""
    if status not in STATUS_TRANSITIONS[deployment.status]:
        raise IllegalTransition(f"deployment {deployment.id}", deployment.status, status)
    return replace(deployment, status=status, updated_at=now)


def with_rollout_state(deployment: Deployment, state: RolloutState, now: float) -> Deployment:
    """Raises IllegalTransition if the table lacks the pair."""
    if state not in ROLLOUT_TRANSITIONS[deployment.rollout_state]:
        raise IllegalTransition(f"deployment {deployment.id}", deployment.rollout_state, state)
    return replace(deployment, rollout_state=state, updated_at=now)


def minimum_healthy(desired: int, percent: int) -> int:
    """Rounded up: 5 tasks at 50 % -> 3. API-ECS DeploymentConfiguration."""
    return -(-desired * percent // 100)


def maximum_total(desired: int, percent: int) -> int:
    """Rounded down: 3 tasks at 150 % -> 4. API-ECS DeploymentConfiguration."""
    return desired * percent // 100


def failure_threshold(breaker: CircuitBreaker, desired: int) -> int:
    """Task failures at which the breaker trips. API-ECS 1.44.5 ThresholdConfiguration.

    BOUNDED_PERCENT 50 is the rule of all years before: 0.5 x desired, at least 3, at most 200:
    1 task -> 3, 25 tasks -> 13, 1,000 tasks -> 200. That the bounds are 3..200 for other values is [inferred].
    UNBOUNDED_PERCENT 50: 25 tasks -> 13, 2 tasks -> 1. COUNT 5: 5.
    """
    match breaker.threshold_type:
        case ThresholdType.COUNT:
            return breaker.threshold_value
        case ThresholdType.BOUNDED_PERCENT:
            return min(200, max(3, -(-desired * breaker.threshold_value // 100)))
        case ThresholdType.UNBOUNDED_PERCENT:
            return max(1, -(-desired * breaker.threshold_value // 100))
        case _:
            assert_never(breaker.threshold_type)


class MonitorStatus(StrEnum):
    """What the circuit breaker is doing about a deployment. API-ECS ServiceDeploymentRollbackMonitorsStatus."""

    DISABLED = "DISABLED"
    MONITORING = "MONITORING"
    MONITORING_COMPLETE = "MONITORING_COMPLETE"
    TRIGGERED = "TRIGGERED"


def monitor_status(deployment: Deployment, breaker: CircuitBreaker) -> MonitorStatus:
    """A rollback is not monitored: there is nothing further back to return to [inferred]."""
    if not breaker.enable or deployment.is_rolling_back:
        return MonitorStatus.DISABLED
    match deployment.rollout_state:
        case R.IN_PROGRESS:
            return MonitorStatus.MONITORING
        case R.COMPLETED:
            return MonitorStatus.MONITORING_COMPLETE
        case _:
            return MonitorStatus.TRIGGERED


def throttle_delay_s(failures: int, base_s: float, max_s: float) -> float:
    """Pause before the next start after `failures` in a row that never reached RUNNING.

    Doubles from `base_s` to `max_s`: 10, 20, 40 ... 900 s. The doubling is [inferred]; that it grows up to
    15 minutes is ECS-DG/service-throttle-logic.
    """
    return 0.0 if failures == 0 else min(max_s, base_s * 2.0 ** min(failures - 1, 32))
