"""What command-line flags say, as options. Pure; shared by `python -m rollproof.probe` and the `probe` command."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.probe.options import Activity


def tool_arguments(text: str) -> dict[str, Any]:
    """The value of --args: a JSON object, "" for none. Raises UsageError."""
    try:
        arguments = json.loads(text or "{}")
    except ValueError as error:
        raise UsageError(f"--args is not JSON: {error}", hint='e.g. --args \'{"city": "Pune"}\'') from None
    if not isinstance(arguments, dict):
        raise UsageError("--args is not a JSON object", hint='e.g. --args \'{"city": "Pune"}\'')
    return arguments


def activities(text: str) -> tuple[Activity, ...]:
    """The value of --activities: "all", or names with commas between, "" for none. Raises UsageError."""
    if text == "all":
        return tuple(Activity)
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Activity)]
    if unknown:
        raise UsageError(f"unknown activity {unknown[0]!r}", hint=f"all, or some of {','.join(Activity)}")
    return tuple(Activity(name) for name in dict.fromkeys(names))


def headers(lines: Iterable[str]) -> dict[str, str]:
    """The values of --header, each "Name: value". Raises UsageError without repeating the value."""
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError("a --header has no name", hint="write it as 'Name: value'")
        found[name.strip()] = value.strip()
    return found
