"""The arithmetic of a rolling deployment, the breaker's thresholds, the restart throttle, and the two tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollproof.core import deployment as d
from rollproof.core.errors import IllegalTransition
from rollproof.core.settings import CircuitBreaker, ThresholdType

D, R = d.DeploymentStatus, d.RolloutState
NEW = d.Deployment("1" * 19, "2" * 19, "mcp-server:1", created_at=0.0, updated_at=0.0)

DESIRED = (1, 2, 3, 4, 10)
LIMITS = {
    (100, 200): ((1, 2), (2, 4), (3, 6), (4, 8), (10, 20)),
    (50, 200): ((1, 2), (1, 4), (2, 6), (2, 8), (5, 20)),
    (50, 100): ((1, 1), (1, 2), (2, 3), (2, 4), (5, 10)),
    (0, 100): ((0, 1), (0, 2), (0, 3), (0, 4), (0, 10)),
    (0, 200): ((0, 2), (0, 4), (0, 6), (0, 8), (0, 20)),
    (100, 150): ((1, 1), (2, 3), (3, 4), (4, 6), (10, 15)),
    (100, 125): ((1, 1), (2, 2), (3, 3), (4, 5), (10, 12)),
    (75, 125): ((1, 1), (2, 2), (3, 3), (3, 5), (8, 12)),
}
"""(minimumHealthyPercent, maximumPercent) -> (floor, ceiling) for each desired count."""


@pytest.mark.fidelity("ECS-ROLL-1", "ECS-ROLL-2", "ECS-ROLL-10")
@pytest.mark.parametrize("percents", LIMITS)
def test_limits_of_a_deployment_round_up_and_down(percents: tuple[int, int]) -> None:
    minimum, maximum = percents
    found = tuple((d.minimum_healthy(n, minimum), d.maximum_total(n, maximum)) for n in DESIRED)
    assert found == LIMITS[percents]


def test_limits_of_nothing_are_nothing() -> None:
    assert (d.minimum_healthy(0, 100), d.maximum_total(0, 200)) == (0, 0)


BOUNDED, UNBOUNDED, COUNT = ThresholdType.BOUNDED_PERCENT, ThresholdType.UNBOUNDED_PERCENT, ThresholdType.COUNT


@pytest.mark.fidelity("ECS-DEPLOY-31", "ECS-DEPLOY-32", "ECS-DEPLOY-34")
@pytest.mark.parametrize(
    ("kind", "value", "desired", "threshold"),
    [
        pytest.param(BOUNDED, 50, 1, 3, id="bounded_at_least_three"),
        pytest.param(BOUNDED, 50, 6, 3, id="bounded_half"),
        pytest.param(BOUNDED, 50, 7, 4, id="bounded_half_rounded_up"),
        pytest.param(BOUNDED, 50, 25, 13, id="bounded_25_tasks"),
        pytest.param(BOUNDED, 50, 400, 200, id="bounded_400_tasks"),
        pytest.param(BOUNDED, 50, 1_000, 200, id="bounded_at_most_200"),
        pytest.param(BOUNDED, 50, 0, 3, id="bounded_no_tasks"),
        pytest.param(BOUNDED, 10, 50, 5, id="bounded_other_value"),
        pytest.param(UNBOUNDED, 50, 2, 1, id="unbounded_below_three"),
        pytest.param(UNBOUNDED, 50, 25, 13, id="unbounded_rounded_up"),
        pytest.param(UNBOUNDED, 50, 1_000, 500, id="unbounded_above_200"),
        pytest.param(UNBOUNDED, 50, 0, 1, id="unbounded_never_zero"),
        pytest.param(COUNT, 5, 1_000, 5, id="count_as_it_is"),
    ],
)
def test_threshold_of_the_circuit_breaker(kind: ThresholdType, value: int, desired: int, threshold: int) -> None:
    breaker = CircuitBreaker(enable=True, threshold_type=kind, threshold_value=value)
    assert d.failure_threshold(breaker, desired) == threshold


@pytest.mark.fidelity("ECS-DEPLOY-40", source="ECS-DG/service-throttle-logic", mark="doc")
def test_throttle_grows_to_fifteen_minutes() -> None:
    pauses = [d.throttle_delay_s(n, 10.0, 900.0) for n in (0, 1, 2, 3, 7, 8, 5_000)]
    assert pauses == [0.0, 10.0, 20.0, 40.0, 640.0, 900.0, 900.0]


@pytest.mark.fidelity("ECS-DEPLOY-1", source="API-ECS Deployment", mark="doc")
@pytest.mark.parametrize(("start", "to"), [(x, y) for x in D for y in D if y not in d.STATUS_TRANSITIONS[x]])
def test_status_absent_from_the_table_raises(start: d.DeploymentStatus, to: d.DeploymentStatus) -> None:
    with pytest.raises(IllegalTransition, match="deployment"):
        d.with_status(replace(NEW, status=start), to, 1.0)


@pytest.mark.fidelity("ECS-DEPLOY-2", source="API-ECS Deployment", mark="doc")
@pytest.mark.parametrize(("start", "to"), [(x, y) for x in R for y in R if y not in d.ROLLOUT_TRANSITIONS[x]])
def test_rollout_state_absent_from_the_table_raises(start: d.RolloutState, to: d.RolloutState) -> None:
    with pytest.raises(IllegalTransition, match="deployment"):
        d.with_rollout_state(replace(NEW, rollout_state=start), to, 1.0)


def test_change_of_a_deployment_is_dated() -> None:
    old = d.with_status(d.with_rollout_state(NEW, R.COMPLETED, 5.0), D.ACTIVE, 9.0)
    assert (old.rollout_state, old.status, old.updated_at, old.created_at) == (R.COMPLETED, D.ACTIVE, 9.0, 0.0)


@pytest.mark.fidelity("ECS-DEPLOY-4", source="CLI-EX; O7; ECS-DG/ecs_cwe_events", mark="observed")
@pytest.mark.parametrize(
    ("deployment", "reason"),
    [
        pytest.param(NEW, "ECS deployment ecs-svc/1111111111111111111 in progress.", id="in_progress"),
        pytest.param(
            replace(NEW, rollout_state=R.COMPLETED),
            "ECS deployment ecs-svc/1111111111111111111 completed.",
            id="completed",
        ),
        pytest.param(
            replace(NEW, rollout_state=R.FAILED), "ECS deployment circuit breaker: tasks failed to start.", id="failed"
        ),
        pytest.param(
            replace(NEW, is_rolling_back=True),
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1111111111111111111.",
            id="rolling_back",
        ),
    ],
)
def test_reason_of_a_rollout_state(deployment: d.Deployment, reason: str) -> None:
    assert deployment.rollout_state_reason == reason
