from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOB_BY_NAME, KNOBS, Kind, Knob
from rollproof.core.knob_values import put_knob
from rollproof.core.settings import Algorithm, ContainerHealthCheck, Settings, StickinessType
from rollproof.core.validate import validate

CHECK = ContainerHealthCheck(command=("CMD", "true"))
VALID = replace(Settings(), task_definition=replace(Settings().task_definition, health_check=CHECK))


def _with(**knobs: Any) -> Settings:
    settings = VALID
    for name, value in knobs.items():
        settings = put_knob(settings, KNOB_BY_NAME[name], value)
    return settings


def _complaint(settings: Settings, *, allow_unreal: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        validate(settings, allow_unreal=allow_unreal)
    assert caught.value.hint
    return caught.value.message


def test_aws_defaults_are_valid() -> None:
    validate(Settings())
    validate(VALID)
    validate(Settings(), allow_unreal=True)


RANGED = [knob for knob in KNOBS if knob.low is not None and not knob.choices]
NEIGHBOURS = {
    "health_check_interval_s": {"health_check_timeout_s": 2.0},
    "health_check_timeout_s": {"health_check_interval_s": 300.0},
    "cpu": {},
    "memory_mib": {},
}


@pytest.mark.fidelity("ECS-DEPLOY-28", "ECS-TASK-20", "ECS-TASK-33", "ALB-HEALTH-15", "ALB-DRAIN-1", "ALB-STICKY-1")
@pytest.mark.fidelity("ALB-HTTP-18")
@pytest.mark.parametrize(
    "knob", [knob for knob in RANGED if knob.name not in ("cpu", "memory_mib")], ids=lambda k: k.name
)
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(knob: Knob) -> None:
    neighbours: dict[str, Any] = NEIGHBOURS.get(knob.name, {})
    kind = float if knob.kind is Kind.SECONDS else int
    assert knob.low is not None
    validate(_with(**neighbours, **{knob.name: kind(knob.low)}))
    least = kind(knob.low) - 1
    below = _complaint(_with(**neighbours, **{knob.name: -1 if knob.or_zero and least == 0 else least}))
    assert knob.name in below
    assert f"AWS allows {knob.allowed} ({knob.source})" in below
    if knob.high is not None:
        validate(_with(**neighbours, **{knob.name: kind(knob.high)}))
        assert knob.name in _complaint(_with(**neighbours, **{knob.name: kind(knob.high) + 1}))


@pytest.mark.fidelity("ALB-HEALTH-38", "ALB-HEALTH-41", "ALB-STICKY-15")
@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"service_name": "a b"}, "service_name is 'a b'"),
        ({"cluster": ""}, "cluster is ''"),
        ({"family": "x" * 256}, "up to 255"),
        ({"minimum_healthy_percent": 100, "maximum_percent": 100}, "cannot be 100 as this will block deployments"),
        ({"availability_zones": ()}, "at least one zone"),
        ({"cpu": 300}, "Fargate has tasks of 256, 512, 1024, 2048, 4096, 8192, 16384 CPU units"),
        ({"cpu": 256, "memory_mib": 4096}, "with 256 CPU units Fargate allows 512, 1024, 2048 MiB"),
        ({"cpu": 1024, "memory_mib": 1024}, "2048..8192 in steps of 1024 MiB"),
        ({"container_health_check_command": ("curl", "x")}, "starts with one of CMD, CMD-SHELL, NONE"),
        ({"container_health_check_command": ()}, "starts with one of CMD, CMD-SHELL, NONE"),
        ({"health_check_path": "health"}, "starts with /"),
        ({"health_check_path": "/" * 1025}, "up to 1024 characters"),
        ({"health_check_timeout_s": 30.0}, "must be shorter than health_check_interval_s, 30"),
        ({"health_check_matcher": "200-599"}, "is not within 200..499"),
        ({"slow_start_s": 29.0}, "AWS allows 0 or 30..900 s"),
        ({"slow_start_s": 30.0, "algorithm": Algorithm.LEAST_OUTSTANDING_REQUESTS}, "not available"),
        ({"stickiness_enabled": True, "cross_zone": "false"}, "stickiness needs cross-zone load balancing"),
        ({"xff_mode": "drop"}, "one of append, preserve, remove"),
        ({"listener_protocol": "TCP"}, "one of HTTP, HTTPS"),
        ({"stickiness_enabled": True, "stickiness_type": StickinessType.APP_COOKIE}, "application's cookie"),
        (
            {
                "stickiness_enabled": True,
                "stickiness_type": StickinessType.APP_COOKIE,
                "stickiness_cookie_name": "AWSALB",
            },
            "AWSALB* is the load balancer's own",
        ),
    ],
)
def test_what_aws_would_refuse_is_refused(knobs: dict[str, Any], complaint: str) -> None:
    assert complaint in _complaint(_with(**knobs))


@pytest.mark.parametrize(
    "knobs",
    [
        {"minimum_healthy_percent": 100, "maximum_percent": 101},
        {"slow_start_s": 900.0, "algorithm": Algorithm.WEIGHTED_RANDOM},
        {"stickiness_enabled": True, "stickiness_type": StickinessType.APP_COOKIE, "stickiness_cookie_name": "sid"},
        {"stickiness_type": StickinessType.APP_COOKIE},
        {"cpu": 16_384, "memory_mib": 122_880},
        {"container_health_check_command": ("NONE",)},
    ],
)
def test_what_aws_would_take_is_taken(knobs: dict[str, Any]) -> None:
    validate(_with(**knobs))


def test_all_violations_are_named_with_their_sources() -> None:
    settings = _with(deregistration_delay_s=3601.0, stop_timeout_s=1.0)
    sources = {"target_group.deregistration_delay_s": "aws/infrastructure.yaml:TargetGroup"}
    complaint = _complaint(replace(settings, sources=sources))
    assert complaint.splitlines() == [
        "stop_timeout_s is 1: AWS allows 2..120 s (API-ECS ContainerDefinition, Fargate)",
        "deregistration_delay_s is 3601 (from aws/infrastructure.yaml:TargetGroup): AWS allows 0..3600 s "
        "(ALB-UG/load-balancer-target-groups)",
    ]


@pytest.mark.parametrize(
    "knobs",
    [
        {"stop_timeout_s": 0.5},
        {"health_check_interval_s": 0.2, "health_check_timeout_s": 0.5},
        {"connect_timeout_s": 1.0},
        {"listener_port": 0},
        {"deregistration_delay_s": 0.0},
        {"cpu": 1},
    ],
)
def test_values_that_aws_lacks_are_allowed_where_that_is_asked_for(knobs: dict[str, Any]) -> None:
    validate(_with(**knobs), allow_unreal=True)


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"stop_timeout_s": -1.0}, "stop_timeout_s is -1: is negative"),
        ({"health_check_interval_s": 0.0}, "health_check_interval_s is 0: must be more than 0"),
        ({"nodes": 0}, "nodes is 0: must be more than 0"),
        ({"health_check_matcher": "ok"}, "health_check_matcher"),
    ],
)
def test_nonsense_is_refused_even_then(knobs: dict[str, Any], complaint: str) -> None:
    assert complaint in _complaint(_with(**knobs), allow_unreal=True)
