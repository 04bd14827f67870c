"""Which settings two runs do not share: the first thing to look at where their stories differ.

A history has the durations as they were used, in real seconds. They are compared in AWS seconds, so that runs of
two speeds share what was merely scaled; what has a floor (the grace period: a server has to come up in it) or is not
scaled at all differs, and is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rollproof.verdict.comparison_model import SettingPair
from rollproof.verdict.records import History, as_number

NO_KNOBS = frozenset({"stage", "balancer", "strategy", "disruption", "disruption_name", "speed", "seed", "unscaled"})
"""Told in the head line, or no setting of the service at all. So is everything without a dot in its name."""

PROBE, ENDPOINT = "probe.", "probe.endpoint"
"""The clients live in real seconds, and call wherever this run's stage happened to listen."""

HIDDEN = "task_definition.environment."
"""A variable may hold a secret: that it differs is told, not what it is."""

APART_S = 1e-3


def settings_apart(a: History, b: History) -> Iterator[SettingPair]:
    """In order of their names."""
    for name in sorted({*a.settings, *b.settings} - NO_KNOBS):
        if "." not in name or name == ENDPOINT:
            continue
        ours, theirs = _aws_value(a, name), _aws_value(b, name)
        if ours == theirs or _is_close(ours, theirs):
            continue
        if name.startswith(HIDDEN):
            ours, theirs = (None if value is None else "(set)" for value in (ours, theirs))
        yield SettingPair(name, ours, theirs)


def _is_close(a: Any, b: Any) -> bool:
    first, second = as_number(a), as_number(b)
    return first is not None and second is not None and abs(first - second) < APART_S


def _aws_value(history: History, name: str) -> Any:
    value = history.settings.get(name)
    unscaled = str(history.settings.get("unscaled") or "").split(", ")
    number = as_number(value)
    is_scaled = name.endswith("_s") and not name.startswith(PROBE) and name.rpartition(".")[2] not in unscaled
    if number is None or not is_scaled:
        return value
    return round(number * history.speed, 3)
