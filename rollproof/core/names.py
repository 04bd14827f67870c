"""Ids and ARNs, made from the run's seed and a counter so that the same run names the same things.

Forms: task id 32 hex (O11); deployment id `ecs-svc/<19 digits>` (API-ECS Task.startedBy, CLI-EX).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from rollproof.core.settings import ServiceSettings, TargetGroupSettings


@lru_cache(maxsize=1 << 16)  # a pure function that is asked the same again and again
def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but `parts`: reproducible jitter."""
    return int.from_bytes(_digest(*parts)[:6], "big") / 2**48


def task_id(seed: int, number: int) -> str:
    return _digest("task", seed, number).hex()[:32]


def deployment_number(seed: int, number: int) -> str:
    """19 digits, never starting with 0."""
    return str(10**18 + int.from_bytes(_digest("deployment", seed, number)[:8], "big") % (9 * 10**18))


def cluster_arn(service: ServiceSettings) -> str:
    return f"{_ecs(service)}:cluster/{service.cluster}"


def service_arn(service: ServiceSettings) -> str:
    return f"{_ecs(service)}:service/{service.cluster}/{service.name}"


def task_arn(service: ServiceSettings, identifier: str) -> str:
    return f"{_ecs(service)}:task/{service.cluster}/{identifier}"


def task_definition_arn(service: ServiceSettings, name: str) -> str:
    return f"{_ecs(service)}:task-definition/{name}"


def service_revision_arn(service: ServiceSettings, number: str) -> str:
    return f"{_ecs(service)}:service-revision/{service.cluster}/{service.name}/{number}"


@lru_cache(maxsize=64)
def target_group_arn(service: ServiceSettings, group: TargetGroupSettings) -> str:
    suffix = _digest("target-group", group.name).hex()[:16]
    return f"arn:aws:elasticloadbalancing:{service.region}:{service.account}:targetgroup/{group.name}/{suffix}"


def _ecs(service: ServiceSettings) -> str:
    return f"arn:aws:ecs:{service.region}:{service.account}"


def _digest(*parts: object) -> bytes:
    return sha256("\x1f".join(map(str, parts)).encode()).digest()
