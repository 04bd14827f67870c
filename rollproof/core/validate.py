"""Refuses settings that AWS would refuse: a rehearsal of them proves nothing. Pure.

Single ranges stand in the knob table; here are the rules that take more than one number. Every violation is
found before the error is raised, so that a template is corrected in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOB_BY_NAME, KNOBS, Kind, Knob
from rollproof.core.knob_values import get_knob
from rollproof.core.matcher import parse_matcher
from rollproof.core.settings import Algorithm, Settings, StickinessType

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEALTH_CHECK_COMMANDS = ("CMD", "CMD-SHELL", "NONE")

_FARGATE_MEMORY_MIB = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16_384 + 1, 1024),
    4096: range(8192, 30_720 + 1, 1024),
    8192: range(16_384, 61_440 + 1, 4096),
    16_384: range(32_768, 122_880 + 1, 8192),
}
"""ECS-DG/AWS_Fargate task size: memory that goes with each number of CPU units."""


def validate(settings: Settings, allow_unreal: bool = False) -> None:
    """Raise UsageError naming every knob that AWS would refuse: its value, what is allowed, where it came from.

    With `allow_unreal` only nonsense is refused (negative numbers, a timeout of zero): a test may want a stop
    timeout of one second, which no Fargate task can have.
    """
    rules = _nonsense if allow_unreal else _refused_by_aws
    complaints = list(rules(settings))
    if complaints:
        raise UsageError("\n".join(complaints), hint="`rollproof knobs` lists every knob with its range")


def _complaint(settings: Settings, knob: Knob | str, text: str) -> str:
    knob = KNOB_BY_NAME[knob] if isinstance(knob, str) else knob
    source = settings.sources.get(knob.path)
    shown = get_knob(settings, knob)
    shown = f"{shown:.10g}" if knob.kind in (Kind.SECONDS, Kind.INTEGER) else repr(shown)
    return f"{knob.name} is {shown}{f' (from {source})' if source else ''}: {text}"


def _refused_by_aws(settings: Settings) -> Iterator[str]:
    for knob in KNOBS:
        value = get_knob(settings, knob)
        if value is not None and not _in_range(knob, value):
            yield _complaint(settings, knob, f"AWS allows {knob.allowed} ({knob.source})")
    yield from _service(settings)
    yield from _task_definition(settings)
    yield from _health_check(settings)
    yield from _target_group(settings)


def _in_range(knob: Knob, value: object) -> bool:
    if knob.choices:
        return value in knob.choices
    if not isinstance(value, int | float) or knob.low is None or (knob.or_zero and value == 0):
        return True
    return knob.low <= value and (knob.high is None or value <= knob.high)


def _service(settings: Settings) -> Iterator[str]:
    service = settings.service
    for name in ("service_name", "cluster", "family"):
        if not _NAME.fullmatch(get_knob(settings, KNOB_BY_NAME[name])):
            yield _complaint(settings, name, "AWS allows up to 255 letters, digits, - and _ (API-ECS)")
    if service.minimum_healthy_percent == service.maximum_percent == 100:
        yield _complaint(
            settings,
            "maximum_percent",
            "with a minimum healthy percent of 100 too, ECS answers: Both maximumPercent and minimumHealthyPercent "
            "cannot be 100 as this will block deployments",
        )
    if not service.availability_zones:
        yield _complaint(settings, "availability_zones", "tasks need at least one zone")


def _task_definition(settings: Settings) -> Iterator[str]:
    definition = settings.task_definition
    memory = _FARGATE_MEMORY_MIB.get(definition.cpu)
    if memory is None:
        sizes = ", ".join(str(cpu) for cpu in _FARGATE_MEMORY_MIB)
        yield _complaint(settings, "cpu", f"Fargate has tasks of {sizes} CPU units (ECS-DG/AWS_Fargate)")
    elif definition.memory_mib not in memory:
        steps = f"{memory[0]}..{memory[-1]} in steps of {memory[1] - memory[0]}"
        sizes = steps if isinstance(memory, range) else ", ".join(str(size) for size in memory)
        yield _complaint(
            settings, "memory_mib", f"with {definition.cpu} CPU units Fargate allows {sizes} MiB (ECS-DG/AWS_Fargate)"
        )
    check = definition.health_check
    if check is not None and (not check.command or check.command[0] not in _HEALTH_CHECK_COMMANDS):
        kinds = ", ".join(_HEALTH_CHECK_COMMANDS)
        yield _complaint(
            settings, "container_health_check_command", f"starts with one of {kinds} (API-ECS HealthCheck)"
        )


def _health_check(settings: Settings) -> Iterator[str]:
    check = settings.target_group.health_check
    if not check.path.startswith("/") or len(check.path) > 1024:
        yield _complaint(settings, "health_check_path", "starts with / and has up to 1024 characters (API-ELB)")
    if check.timeout_s >= check.interval_s:
        yield _complaint(
            settings, "health_check_timeout_s", f"must be shorter than health_check_interval_s, {check.interval_s:.10g}"
        )
    try:
        parse_matcher(check.matcher)
    except UsageError as error:
        yield _complaint(settings, "health_check_matcher", error.message)


def _target_group(settings: Settings) -> Iterator[str]:
    group = settings.target_group
    if group.slow_start_s and group.algorithm is Algorithm.LEAST_OUTSTANDING_REQUESTS:
        yield _complaint(
            settings, "slow_start_s", "slow start is not available with least_outstanding_requests (API-ELB)"
        )
    if group.stickiness.enabled and group.cross_zone == "false":
        yield _complaint(settings, "cross_zone", "stickiness needs cross-zone load balancing (ALB-UG)")
    if group.stickiness.enabled and group.stickiness.type is StickinessType.APP_COOKIE:
        name = group.stickiness.cookie_name
        if not _COOKIE_NAME.fullmatch(name):
            yield _complaint(settings, "stickiness_cookie_name", "app_cookie needs the application's cookie's name")
        if name.startswith("AWSALB"):
            yield _complaint(settings, "stickiness_cookie_name", "AWSALB* is the load balancer's own (API-ELB)")


_MAY_BE_ZERO = frozenset(
    {"desired_count", "minimum_healthy_percent", "maximum_percent", "health_check_grace_period_s",
     "deregistration_delay_s", "slow_start_s", "container_health_check_start_period_s", "stop_timeout_s",
     "minimum_healthy_targets_percent", "container_port", "target_group_port", "listener_port", "request_timeout_s"}
)  # fmt: skip
"""Numbers for which 0 has a meaning (for a port: any that is free); all others must be positive."""


def _nonsense(settings: Settings) -> Iterator[str]:
    for knob in KNOBS:
        value = get_knob(settings, knob)
        if knob.kind not in (Kind.INTEGER, Kind.SECONDS) or value is None:
            continue
        if value < 0:
            yield _complaint(settings, knob, "is negative")
        elif value == 0 and knob.name not in _MAY_BE_ZERO:
            yield _complaint(settings, knob, "must be more than 0")
    try:
        parse_matcher(settings.target_group.health_check.matcher)
    except UsageError as error:
        yield _complaint(settings, "health_check_matcher", error.message)
