"""The defaults are AWS's own; a setting cannot be changed behind anyone's back."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from rollproof.core.settings import Algorithm, ContainerHealthCheck, Settings, TaskDefinition, ThresholdType


@pytest.mark.fidelity("ECS-ROLL-3", "ECS-DEPLOY-28", "ECS-TASK-20", "ALB-HEALTH-29", "ALB-HEALTH-34", "ALB-DRAIN-1")
@pytest.mark.fidelity("ALB-HTTP-18", "ALB-HTTP-19")
@pytest.mark.parametrize(
    ("part", "name", "default"),
    [
        ("service", "minimum_healthy_percent", 100),
        ("service", "maximum_percent", 200),
        ("service", "health_check_grace_period_s", 0.0),
        ("target_group", "deregistration_delay_s", 300.0),
        ("target_group", "algorithm", Algorithm.ROUND_ROBIN),
        ("target_group", "slow_start_s", 0.0),
        ("target_group", "minimum_healthy_targets", 1),
        ("load_balancer", "idle_timeout_s", 60.0),
        ("load_balancer", "client_keep_alive_s", 3_600.0),
        ("task_definition", "stop_timeout_s", 30.0),
        ("task_definition", "stop_signal", "SIGTERM"),
        ("behaviour", "sticky_overrides_drain", False),
        ("behaviour", "stop_task_drains", True),
    ],
)
def test_default_is_that_of_aws(part: str, name: str, default: object) -> None:
    assert getattr(getattr(Settings(), part), name) == default


@pytest.mark.fidelity("ECS-DEPLOY-32", "ECS-DEPLOY-33", "ALB-HEALTH-15", "ALB-STICKY-1")
def test_defaults_of_the_health_check_stickiness_and_breaker() -> None:
    group, breaker = Settings().target_group, Settings().service.circuit_breaker
    check = group.health_check
    assert (check.path, check.interval_s, check.timeout_s, check.matcher) == ("/", 30.0, 5.0, "200")
    assert (check.healthy_threshold, check.unhealthy_threshold) == (5, 2)
    assert (group.stickiness.enabled, group.stickiness.duration_s) == (False, 86_400.0)
    assert (breaker.enable, breaker.threshold_type, breaker.threshold_value) == (
        False,
        ThresholdType.BOUNDED_PERCENT,
        50,
    )
    assert breaker.reset_on_healthy_task


@pytest.mark.fidelity("ECS-TASK-33", source="API-ECS HealthCheck", mark="doc")
def test_defaults_of_the_container_check() -> None:
    check = ContainerHealthCheck(("CMD", "true"))
    assert (check.interval_s, check.timeout_s, check.retries, check.start_period_s) == (30.0, 5.0, 3, 0.0)


def test_revision_is_named_as_ecs_names_it() -> None:
    assert TaskDefinition(family="web", revision=7).name == "web:7"


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().service.desired_count = 3  # type: ignore[misc]
