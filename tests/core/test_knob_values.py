from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOB_BY_NAME, KNOB_BY_PATH, KNOBS, Kind, Knob
from rollproof.core.knob_values import get_knob, parse_knob, put_knob
from rollproof.core.settings import Algorithm, ContainerHealthCheck, Settings, StickinessType, ThresholdType

CHECK = ContainerHealthCheck(command=("CMD", "true"))
WITH_CHECK = replace(Settings(), task_definition=replace(Settings().task_definition, health_check=CHECK))


def _leaves(value: Any, path: str = "") -> set[str]:
    if not is_dataclass(value):
        return {path}
    return {
        leaf
        for field in fields(value)
        for leaf in _leaves(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
    }


def test_every_field_of_settings_is_a_knob() -> None:
    assert _leaves(WITH_CHECK) - {"sources", "task_definition.environment"} == set(KNOB_BY_PATH)


def test_names_are_unique_and_each_knob_says_what_it_is() -> None:
    assert len(KNOB_BY_NAME) == len(KNOB_BY_PATH) == len(KNOBS)
    assert all(knob.doc and knob.allowed for knob in KNOBS)


def test_every_range_has_a_source() -> None:
    ranged = [knob for knob in KNOBS if knob.low is not None or (knob.choices and knob.name != "listener_protocol")]
    assert [knob.name for knob in ranged if not knob.source] == []


def test_defaults_lie_in_the_ranges_that_the_table_gives() -> None:
    for knob in KNOBS:
        value = get_knob(WITH_CHECK, knob)
        if isinstance(value, int | float) and knob.low is not None and not (knob.or_zero and value == 0):
            assert knob.low <= value <= (knob.high if knob.high is not None else value), knob.name


@pytest.mark.parametrize(
    ("name", "allowed", "aws_names"),
    [
        ("deregistration_delay_s", "0..3600 s", ("deregistration_delay.timeout_seconds",)),
        ("slow_start_s", "0 or 30..900 s", ("slow_start.duration_seconds",)),
        ("client_keep_alive_s", "60..604800 s", ("client_keep_alive.seconds",)),
        ("health_check_grace_period_s", "0..2147483647 s", ("HealthCheckGracePeriodSeconds",)),
        ("desired_count", "0 or more", ("DesiredCount",)),
        ("maximum_percent", "0 or more", ("DeploymentConfiguration.MaximumPercent", "MaximumPercent")),
        ("stop_timeout_s", "2..120 s", ("ContainerDefinitions.StopTimeout", "StopTimeout")),
        ("xff_mode", "one of append, preserve, remove", ("routing.http.xff_header_processing.mode",)),
        ("stickiness_enabled", "true or false", ("stickiness.enabled",)),
        ("availability_zones", "list", ()),
    ],
)
def test_a_knob_names_its_range_and_its_aws_spelling(name: str, allowed: str, aws_names: tuple[str, ...]) -> None:
    assert (KNOB_BY_NAME[name].allowed, KNOB_BY_NAME[name].aws_names) == (allowed, aws_names)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("desired_count", "3", 3),
        ("desired_count", 3, 3),
        ("desired_count", "3.0", 3),
        ("deregistration_delay_s", "30", 30.0),
        ("deregistration_delay_s", " 30s ", 30.0),
        ("deregistration_delay_s", 2.5, 2.5),
        ("stickiness_enabled", True, True),
        ("stickiness_enabled", "FALSE", False),
        ("stickiness_enabled", "on", True),
        ("minimum_healthy_targets_percent", "off", 0),
        ("minimum_healthy_targets_percent", "50", 50),
        ("circuit_breaker_enable", "0", False),
        ("algorithm", "Least_Outstanding_Requests", Algorithm.LEAST_OUTSTANDING_REQUESTS),
        ("stickiness_type", "app_cookie", StickinessType.APP_COOKIE),
        ("circuit_breaker_threshold_type", "count", ThresholdType.COUNT),
        ("listener_protocol", "https", "HTTPS"),
        ("health_check_path", " /healthz ", "/healthz"),
        ("health_check_matcher", 200, "200"),
        ("availability_zones", "eu-west-1a, eu-west-1b,", ("eu-west-1a", "eu-west-1b")),
        ("command", '["python", "-m", "a, b"]', ("python", "-m", "a, b")),
        ("command", ["sleep", 5], ("sleep", "5")),
        ("command", "", ()),
    ],
)
def test_a_value_is_read_by_its_knobs_kind(name: str, raw: object, value: object) -> None:
    parsed = parse_knob(KNOB_BY_NAME[name], raw)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("desired_count", "two"),
        ("desired_count", "2.5"),
        ("desired_count", "nan"),
        ("desired_count", None),
        ("deregistration_delay_s", "5 minutes"),
        ("deregistration_delay_s", "inf"),
        ("deregistration_delay_s", [30]),
        ("stickiness_enabled", "perhaps"),
        ("algorithm", "random"),
        ("xff_mode", ""),
        ("command", '["unclosed"'),
        ("command", {"a": 1}),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(name: str, raw: object) -> None:
    with pytest.raises(UsageError, match=name):
        parse_knob(KNOB_BY_NAME[name], raw)


def test_a_refusal_says_what_is_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        parse_knob(KNOB_BY_NAME["algorithm"], "random")
    assert "one of round_robin, least_outstanding_requests, weighted_random" in caught.value.message


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_value_put_is_the_value_got_and_nothing_else_changes(knob: Knob) -> None:
    samples: dict[Kind, Any] = {
        Kind.INTEGER: 7,
        Kind.SECONDS: 7.5,
        Kind.BOOLEAN: True,
        Kind.TEXT: "x",
        Kind.LIST: ("x",),
    }
    value = samples.get(knob.kind, knob.choices[-1] if knob.choices else None)
    changed = put_knob(WITH_CHECK, knob, value)
    assert get_knob(changed, knob) == value
    others = [other for other in KNOBS if other is not knob]
    assert [get_knob(changed, other) for other in others] == [get_knob(WITH_CHECK, other) for other in others]


def test_a_container_health_check_begins_with_its_command() -> None:
    command = KNOB_BY_NAME["container_health_check_command"]
    interval = KNOB_BY_NAME["container_health_check_interval_s"]
    assert get_knob(Settings(), interval) is None
    with pytest.raises(UsageError, match="no health check of its own"):
        put_knob(Settings(), interval, 10.0)
    changed = put_knob(put_knob(Settings(), command, ("CMD", "true")), interval, 10.0)
    assert changed.task_definition.health_check == ContainerHealthCheck(("CMD", "true"), interval_s=10.0)


@given(st.sampled_from([knob for knob in KNOBS if knob.kind is Kind.SECONDS]), st.floats(0, 1e9))
def test_seconds_survive_being_written_and_read(knob: Knob, seconds: float) -> None:
    assert parse_knob(knob, repr(seconds)) == parse_knob(knob, f"{seconds!r}s") == seconds
