"""Knob values: from what people write to typed values, and in and out of `Settings`. Pure.

Text comes from `--set` and from CloudFormation (where every number may be a string); numbers, booleans and
lists come from YAML, TOML and JSON. Both are read by the same rules.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.knob_table import Kind, Knob
from rollproof.core.settings import (
    Algorithm,
    ContainerHealthCheck,
    Routing,
    Settings,
    StickinessType,
    ThresholdType,
)

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_CHOICE_TYPES = {
    "algorithm": Algorithm,
    "routing": Routing,
    "stickiness_type": StickinessType,
    "circuit_breaker_threshold_type": ThresholdType,
}
_CONTAINER_CHECK = "task_definition.health_check"


def parse_knob(knob: Knob, raw: object) -> Any:
    """`raw` as the value of `knob`: float seconds for SECONDS ("30", "30s", 30), a tuple of str for LIST, ...

    Ranges are not looked at; `validate` does. Raises UsageError naming the knob and what it accepts.
    """
    if knob.kind is Kind.LIST:
        return _list(knob, raw)
    if isinstance(raw, bool):
        text = "true" if raw else "false"
    elif isinstance(raw, str | int | float):
        text = str(raw).strip()
    else:
        raise _refusal(knob, raw)
    match knob.kind:
        case Kind.INTEGER:
            return _integer(knob, text)
        case Kind.SECONDS:
            return _seconds(knob, text)
        case Kind.BOOLEAN:
            return _boolean(knob, text)
        case Kind.CHOICE:
            return _choice(knob, text)
        case _:
            return text


def get_knob(settings: Settings, knob: Knob) -> Any:
    """Its value, or None for a field of a container health check that is not there."""
    value: Any = settings
    for field in knob.path.split("."):
        value = getattr(value, field, None)
    return value


def put_knob(settings: Settings, knob: Knob, value: Any) -> Settings:
    """`settings` with `value` in the knob's field; `sources` untouched.

    Raises UsageError for a field of a container health check when there is none and `value` is no command.
    """
    if knob.path.startswith(_CONTAINER_CHECK) and settings.task_definition.health_check is None:
        if knob.name != "container_health_check_command":
            raise UsageError(
                f"{knob.name}: the container has no health check of its own",
                hint="set container_health_check_command first, in the template or with --set",
            )
        check = ContainerHealthCheck(command=value)
        return replace(settings, task_definition=replace(settings.task_definition, health_check=check))
    changed: Settings = _put(settings, knob.path.split("."), value)
    return changed


def _put(holder: Any, path: list[str], value: Any) -> Any:
    field, *rest = path
    return replace(holder, **{field: _put(getattr(holder, field), rest, value) if rest else value})


def _integer(knob: Knob, text: str) -> int:
    if knob.or_zero and text.lower() in _FALSE:  # AWS writes "off", which YAML may read as a boolean
        return 0
    try:
        return int(text)
    except ValueError:
        number = _finite(text)
    if number is None or not number.is_integer():
        raise _refusal(knob, text)
    return int(number)


def _seconds(knob: Knob, text: str) -> float:
    number = _finite(text.removesuffix("s").rstrip())
    if number is None:
        raise _refusal(knob, text, hint='write plain seconds: "300" or "300s"')
    return number


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _boolean(knob: Knob, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise _refusal(knob, text)


def _choice(knob: Knob, text: str) -> str:
    for choice in knob.choices:
        if text.lower() == choice.lower():
            enum = _CHOICE_TYPES.get(knob.name)
            return enum(choice) if enum else choice
    raise _refusal(knob, text)


def _list(knob: Knob, raw: object) -> tuple[str, ...]:
    """A list as it is; text as a JSON list, or else split at commas."""
    if isinstance(raw, str):
        text = raw.strip()
        if text.startswith("["):
            try:
                return _list(knob, json.loads(text))
            except json.JSONDecodeError as error:
                raise _refusal(knob, raw, hint=f"it starts like a JSON list, but {error}") from None
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(raw, list | tuple) and all(isinstance(item, str | int | float) for item in raw):
        return tuple(str(item) for item in raw)
    raise _refusal(knob, raw)


def _refusal(knob: Knob, raw: object, *, hint: str = "") -> UsageError:
    return UsageError(f"{knob.name}: {raw!r} is not a value for it; allowed: {knob.allowed}", hint=hint or knob.doc)
