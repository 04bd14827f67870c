"""Every timing has a source; one factor scales them all but the application's own."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from rollproof.core.settings import ContainerHealthCheck, HealthCheck, PlatformSettings, Settings, TaskDefinition
from rollproof.core.timing import APPLICATION_TIME, Timing, scale_settings, scale_timing


@pytest.mark.parametrize("field", fields(Timing), ids=lambda x: x.name)
def test_timing_has_a_source_and_a_mark(field: object) -> None:
    metadata = field.metadata  # type: ignore[attr-defined]
    assert metadata["source"]
    assert metadata["mark"] in {"doc", "observed", "inferred"}
    assert field.name.endswith("_s")  # type: ignore[attr-defined]


def test_scaled_timing_is_divided_throughout() -> None:
    scaled = scale_timing(Timing(), 10)
    assert all(getattr(scaled, x.name) == pytest.approx(getattr(Timing(), x.name) / 10) for x in fields(Timing))


def test_speed_one_changes_nothing() -> None:
    settings = Settings()
    assert scale_settings(settings, 1) is settings


def test_scaled_settings_are_divided_but_for_the_applications_own_time() -> None:
    check = ContainerHealthCheck(("CMD", "true"), start_period_s=60.0)
    settings = Settings(task_definition=TaskDefinition(health_check=check))
    settings = replace(settings, service=replace(settings.service, health_check_grace_period_s=100.0))
    settings = replace(settings, platform=PlatformSettings(request_timeout_s=120.0))
    scaled = scale_settings(settings, 10)
    assert scaled.target_group.deregistration_delay_s == 30.0
    assert scaled.target_group.stickiness.duration_s == 8_640.0
    assert scaled.target_group.health_check.interval_s == 3.0
    assert scaled.service.health_check_grace_period_s == 30.0
    container = scaled.task_definition.health_check
    assert container is not None
    assert (container.interval_s, container.start_period_s) == (3.0, 6.0)
    assert (scaled.platform.session_idle_s, scaled.platform.session_lifetime_s) == (90.0, 2_880.0)
    holders = {"stop_timeout_s": scaled.task_definition, "request_timeout_s": scaled.platform}
    kept = {name: getattr(holders.get(name, scaled.load_balancer), name) for name in APPLICATION_TIME}
    assert kept == {
        "stop_timeout_s": 30.0,
        "idle_timeout_s": 60.0,
        "client_keep_alive_s": 3_600.0,
        "connect_timeout_s": 10.0,
        "request_timeout_s": 120.0,
    }


@pytest.mark.parametrize(
    ("timeout_s", "speed", "scaled"),
    [
        pytest.param(5.0, 2, 2.5, id="divided"),
        pytest.param(5.0, 10, 1.0, id="not_below_a_second"),
        pytest.param(0.5, 10, 0.5, id="never_longer_than_it_was"),
    ],
)
def test_scaled_health_check_leaves_a_healthy_server_a_second(timeout_s: float, speed: float, scaled: float) -> None:
    container = ContainerHealthCheck(("CMD", "true"), timeout_s=timeout_s)
    settings = Settings(task_definition=TaskDefinition(health_check=container))
    settings = replace(
        settings, target_group=replace(settings.target_group, health_check=HealthCheck(timeout_s=timeout_s))
    )
    result = scale_settings(settings, speed)
    assert result.target_group.health_check.timeout_s == scaled
    assert result.task_definition.health_check is not None
    assert result.task_definition.health_check.timeout_s == scaled


def test_scaled_settings_without_a_container_check_have_none() -> None:
    assert scale_settings(Settings(), 10).task_definition.health_check is None
