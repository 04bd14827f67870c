"""Ids and ARNs: their forms, and that the same run names the same things."""

from __future__ import annotations

import re

import pytest

from rollproof.core import names
from rollproof.core.settings import ServiceSettings, TargetGroupSettings

SERVICE = ServiceSettings(name="svc", cluster="clu", region="eu-west-1", account="111122223333")
ECS = "arn:aws:ecs:eu-west-1:111122223333"


@pytest.mark.fidelity("ECS-EVENT-25", source="O11", mark="observed")
def test_task_id_is_32_hex_digits() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{32}", names.task_id(seed, 1)) for seed in range(50))


@pytest.mark.fidelity("ECS-DEPLOY-5", source="API-ECS Task; CLI-EX", mark="doc")
def test_deployment_number_is_19_digits() -> None:
    numbers = {names.deployment_number(seed, n) for seed in range(20) for n in range(-10, 10)}
    assert len(numbers) == 400
    assert all(re.fullmatch(r"[1-9][0-9]{18}", number) for number in numbers)


def test_same_seed_and_number_same_id() -> None:
    assert names.task_id(7, 3) == names.task_id(7, 3) != names.task_id(7, 4) != names.task_id(8, 4)


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (names.cluster_arn(SERVICE), f"{ECS}:cluster/clu"),
        (names.service_arn(SERVICE), f"{ECS}:service/clu/svc"),
        (names.task_arn(SERVICE, "abc"), f"{ECS}:task/clu/abc"),
        (names.task_definition_arn(SERVICE, "mcp:3"), f"{ECS}:task-definition/mcp:3"),
        (names.service_revision_arn(SERVICE, "123"), f"{ECS}:service-revision/clu/svc/123"),
    ],
    ids=["cluster", "service", "task", "task_definition", "service_revision"],
)
def test_arn_has_the_form_of_aws(arn: str, expected: str) -> None:
    assert arn == expected


def test_target_group_arn_ends_in_16_hex_digits_of_its_own() -> None:
    arn = names.target_group_arn(SERVICE, TargetGroupSettings(name="web"))
    prefix = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/"
    assert re.fullmatch(re.escape(prefix) + "[0-9a-f]{16}", arn)
    assert arn != names.target_group_arn(SERVICE, TargetGroupSettings(name="api"))


def test_fraction_is_reproducible_and_spread_over_the_unit_interval() -> None:
    drawn = [names.fraction("x", n) for n in range(1_000)]
    assert drawn == [names.fraction("x", n) for n in range(1_000)]
    assert 0.0 <= min(drawn) < 0.01
    assert 0.99 < max(drawn) < 1.0
    assert 0.45 < sum(drawn) / 1_000 < 0.55
