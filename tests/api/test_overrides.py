from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.api.overrides import apply_overrides, apply_timing_overrides, find_knob, setting_rows, split_overrides
from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOBS, Kind, Knob
from rollproof.core.knob_values import get_knob
from rollproof.core.settings import Algorithm, Settings
from rollproof.core.timing import Timing


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("deregistration_delay_s", "deregistration_delay_s"),
        ("Deregistration-Delay-S", "deregistration_delay_s"),
        ("target_group.deregistration_delay_s", "deregistration_delay_s"),
        ("deregistration_delay.timeout_seconds", "deregistration_delay_s"),
        ("MaximumPercent", "maximum_percent"),
        ("maximumPercent", "maximum_percent"),
        ("DeploymentConfiguration.MaximumPercent", "maximum_percent"),
        ("StopTimeout", "stop_timeout_s"),
        ("stickiness.lb_cookie.duration_seconds", "stickiness_duration_s"),
        ("HealthCheckIntervalSeconds", "health_check_interval_s"),
        ("DeploymentCircuitBreaker.Enable", ""),
        ("Enable", "circuit_breaker_enable"),
        ("command", "command"),
    ],
)
def test_a_knob_goes_by_our_names_and_by_awss(spelling: str, name: str) -> None:
    if not name:
        with pytest.raises(UsageError, match="unknown knob"):
            find_knob(spelling)
        return
    assert find_knob(spelling).name == name


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_every_knob_is_found_by_name_path_and_full_aws_name(knob: Knob) -> None:
    of_two_resources = {"Name", "Port"}
    spellings = [knob.name, knob.path, *(name for name in knob.aws_names[:1] if name not in of_two_resources)]
    assert [find_knob(spelling) for spelling in spellings] == [knob] * len(spellings)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("deregistraton_delay_s", "deregistration_delay_s"),
        ("MaximalPercent", "MaximumPercent"),
        ("drain_propagaton_s", "drain_propagation_s"),
    ],
)
def test_an_unknown_knob_comes_with_the_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown knob '{name}'") as caught:
        apply_overrides(Settings(), {name: "1"})
    assert nearest in caught.value.hint
    assert "rollproof knobs" in caught.value.hint


def test_a_knob_unlike_any_other_still_comes_with_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        find_knob("zzzzzz")
    assert caught.value.hint == "`rollproof knobs` lists all"


def test_a_spelling_that_fits_several_knobs_is_refused() -> None:
    with pytest.raises(UsageError, match="could mean ") as caught:
        find_knob("Name")
    assert "target_group_name" in caught.value.message
    assert "load_balancer_name" in caught.value.message


def test_overrides_change_value_and_source_and_nothing_else() -> None:
    overrides = {
        "deregistration_delay_s": "30",
        "MaximumPercent": "150",
        "algorithm": "weighted_random",
        "stickiness.enabled": "true",
        "environment.MCP_STATELESS_HTTP": "false",
        "container_health_check_interval_s": "5",
        "container_health_check_command": '["CMD", "true"]',
    }
    changed = apply_overrides(Settings(), overrides)
    assert changed.target_group.deregistration_delay_s == 30.0
    assert changed.service.maximum_percent == 150
    assert changed.target_group.algorithm is Algorithm.WEIGHTED_RANDOM
    assert changed.target_group.stickiness.enabled
    assert changed.task_definition.environment == {"MCP_STATELESS_HTTP": "false"}
    assert changed.task_definition.health_check is not None
    assert changed.task_definition.health_check.interval_s == 5.0
    assert set(changed.sources.values()) == {"--set"}
    assert set(changed.sources) == {
        "target_group.deregistration_delay_s",
        "service.maximum_percent",
        "target_group.algorithm",
        "target_group.stickiness.enabled",
        "task_definition.environment.MCP_STATELESS_HTTP",
        "task_definition.health_check.command",
        "task_definition.health_check.interval_s",
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"desired_count": "two"}, "desired_count: 'two' is not a value"),
        ({"MaximumPercent": "1", "maximum_percent": "2"}, "maximum_percent is set twice"),
        ({"environment.": "x"}, "cannot be an environment variable"),
        ({"environment.A": ["x"]}, "cannot be an environment variable"),
        ({"container_health_check_interval_s": "5"}, "no health check of its own"),
    ],
)
def test_an_override_that_cannot_be_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_overrides(Settings(), overrides)
    assert message in caught.value.message


def test_timings_are_told_from_knobs() -> None:
    settings, timing = split_overrides(
        {
            "drain_propagation_s": "5",
            "timing.healthy_bake_s": "1",
            "drain-visible-s": "0",
            "desired_count": "3",
            "nonsense": "1",
        }
    )
    assert settings == {"desired_count": "3", "nonsense": "1"}
    assert timing == {"drain_propagation_s": "5", "healthy_bake_s": "1", "drain_visible_s": "0"}
    changed = apply_timing_overrides(Timing(), timing)
    assert (changed.drain_propagation_s, changed.healthy_bake_s, changed.drain_visible_s) == (5.0, 1.0, 0.0)
    assert changed.scheduler_tick_s == Timing().scheduler_tick_s


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"drain_propagaton_s": "5"}, "unknown timing 'drain_propagaton_s'"),
        ({"zzz": "5"}, "unknown timing 'zzz'"),
        ({"drain_propagation_s": "soon"}, "drain_propagation_s: 'soon' is not a value"),
        ({"drain_propagation_s": "-1"}, "drain_propagation_s is -1 s; a timing is 0 or more"),
    ],
)
def test_a_timing_that_cannot_be_is_refused(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_timing_overrides(Timing(), overrides)
    assert message in caught.value.message
    assert caught.value.hint or "0 or more" in message


def test_no_timing_is_called_as_a_knob_is() -> None:
    names = {knob.name for knob in KNOBS} | {knob.path for knob in KNOBS}
    assert not names & {field.name for field in fields(Timing)}


def test_rows_show_what_the_template_said() -> None:
    template = apply_overrides(Settings(), {"environment.A": "1", "desired_count": "2"}, source="t.yaml:Service")
    changed = apply_overrides(template, {"environment.A": "2", "environment.B": "3", "deregistration_delay_s": "30"})
    rows = {row.name: row for row in setting_rows(changed, template)}
    assert set(rows) == {knob.path for knob in KNOBS} | {
        "task_definition.environment.A",
        "task_definition.environment.B",
    }
    delay = rows["target_group.deregistration_delay_s"]
    assert (delay.value, delay.source, delay.template_value) == (30.0, "--set", 300.0)
    variable = rows["task_definition.environment.A"]
    assert (variable.value, variable.source, variable.template_value) == ("2", "--set", "1")
    assert rows["task_definition.environment.B"].template_value is None
    count = rows["service.desired_count"]
    assert (count.value, count.source, count.template_value) == (2, "t.yaml:Service", None)


NUMERIC = [knob for knob in KNOBS if knob.kind in (Kind.INTEGER, Kind.SECONDS) and ".health_check." not in knob.path]


@given(st.dictionaries(st.sampled_from(range(len(NUMERIC))), st.integers(0, 10_000), max_size=8))
def test_overrides_are_read_back_as_given(chosen: dict[int, int]) -> None:
    overrides = {NUMERIC[index].name: str(value) for index, value in chosen.items()}
    changed = apply_overrides(Settings(), overrides)
    assert {name: get_knob(changed, find_knob(name)) for name in overrides} == {
        NUMERIC[index].name: value for index, value in chosen.items()
    }
