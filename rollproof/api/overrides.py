"""What-ifs: knobs set by hand, over what the templates say.

A knob goes by its short name (`deregistration_delay_s`), its path in Settings, or AWS's spelling
(`deregistration_delay.timeout_seconds`, `MaximumPercent`); timings (`drain_propagation_s`) by their field's name.
The source of a changed knob begins with `--set` or with the file's name, which is how a report knows a what-if.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOBS, Kind, Knob
from rollproof.core.knob_values import get_knob, parse_knob, put_knob
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing

ENVIRONMENT = "environment."
_ENVIRONMENT_PATH = "task_definition.environment."
_TIMINGS = tuple(field.name for field in fields(Timing))
_HINT = "`rollproof knobs` lists all"
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|credential|private|(^|_)(api_?)?key($|_)|auth")
_SECRET_VALUE = re.compile(r"://[^/\s]*@")  # a URL with user and password


@dataclass(frozen=True)
class SettingRow:
    """One knob for the history and for people. `template_value` is set where an override changed it."""

    name: str  # path in Settings, as in `Settings.sources`
    value: Any
    source: str
    template_value: Any = None


def find_knob(name: str) -> Knob:
    """The knob that `name` means. Raises UsageError, with the nearest names, for none or more than one."""
    wanted = _canonical(name)
    for knob in KNOBS:
        if wanted in (_canonical(knob.name), _canonical(knob.path)):
            return knob
    found = [knob for knob in KNOBS if wanted in map(_canonical, knob.aws_names)]
    if len(found) == 1:
        return found[0]
    if found:
        meant = ", ".join(knob.name for knob in found)
        raise UsageError(f"knob {name!r} could mean {meant}", hint="use the short name")
    spellings = {_canonical(each): each for knob in KNOBS for each in (knob.name, *knob.aws_names)}
    spellings |= {_canonical(each): each for each in _TIMINGS}
    close = difflib.get_close_matches(wanted, spellings, n=3, cutoff=0.6)
    nearest = f"did you mean {' or '.join(spellings[each] for each in close)}? " if close else ""
    raise UsageError(f"unknown knob {name!r}", hint=nearest + _HINT)


def split_overrides(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(settings part, timing part): timings are the fields of `Timing`, with or without `timing.` before them."""
    settings: dict[str, str] = {}
    timing: dict[str, str] = {}
    for name, value in overrides.items():
        bare = name.strip().removeprefix("timing.").replace("-", "_")
        if bare in _TIMINGS:
            timing[bare] = value
        else:
            settings[name] = value
    return settings, timing


def apply_overrides(settings: Settings, overrides: Mapping[str, Any], *, source: str = "--set") -> Settings:
    """`settings` with each knob of `overrides` set, and `source` noted for it. `environment.NAME` sets a variable.

    Raises UsageError for an unknown knob, one that is set twice under different spellings, and a value that the
    knob does not take. Ranges are left to `validate`.
    """
    given: dict[str, str] = {}
    # A container health check is made by its command; the rest of its knobs need it to be there.
    for name, raw in sorted(overrides.items(), key=lambda item: "command" not in item[0].lower()):
        if name.startswith((ENVIRONMENT, _ENVIRONMENT_PATH)):
            settings = _set_variable(settings, name.rpartition("environment.")[2], raw, source)
            continue
        knob = find_knob(name)
        if knob.name in given:
            raise UsageError(f"{knob.name} is set twice, as {given[knob.name]!r} and as {name!r}")
        given[knob.name] = name
        settings = put_knob(settings, knob, parse_knob(knob, raw))
        settings = replace(settings, sources={**settings.sources, knob.path: source})
    return settings


def apply_timing_overrides(timing: Timing, overrides: Mapping[str, Any]) -> Timing:
    """`timing` with the fields of `overrides`, in seconds. Raises UsageError for a name or number it does not take."""
    values: dict[str, float] = {}
    for name, raw in overrides.items():
        if name not in _TIMINGS:
            close = difflib.get_close_matches(name, _TIMINGS, n=3, cutoff=0.6)
            raise UsageError(f"unknown timing {name!r}", hint=f"did you mean {' or '.join(close)}?" if close else _HINT)
        seconds = parse_knob(Knob(name, f"timing.{name}", Kind.SECONDS, "seconds", 0, None), raw)
        if seconds < 0:
            raise UsageError(f"{name} is {seconds:g} s; a timing is 0 or more")
        values[name] = seconds
    return replace(timing, **values)


def setting_rows(settings: Settings, template: Settings | None = None) -> Iterator[SettingRow]:
    """Every knob and plain environment variable, in the table's order; `template` is what stood before overrides."""
    for knob in KNOBS:
        value = get_knob(settings, knob)
        before = get_knob(template, knob) if template is not None else value
        source = settings.sources.get(knob.path, "")
        yield SettingRow(knob.path, value, source, before if before != value else None)
    before_environment = (template or settings).task_definition.environment
    for name, text in settings.task_definition.environment.items():
        path = _ENVIRONMENT_PATH + name
        before = before_environment.get(name)
        changed = None if before is None or before == text else public(name, before)
        yield SettingRow(path, public(name, text), settings.sources.get(path, ""), changed)


def public(name: str, text: str) -> str:
    """An environment variable's value as it may be written down: not if its name or form says it is a secret."""
    return "(not shown)" if _SECRET_NAME.search(name) or _SECRET_VALUE.search(text) else text


def _set_variable(settings: Settings, name: str, raw: Any, source: str) -> Settings:
    if not name or not isinstance(raw, str | int | float):
        raise UsageError(
            f"environment.{name}: {raw!r} cannot be an environment variable", hint="environment.NAME=value"
        )
    text = str(raw).lower() if isinstance(raw, bool) else str(raw)
    definition = settings.task_definition
    definition = replace(definition, environment={**definition.environment, name: text})
    sources = {**settings.sources, _ENVIRONMENT_PATH + name: source}
    return replace(settings, task_definition=definition, sources=sources)


def _canonical(name: str) -> str:
    return name.strip().lower().replace("-", "_")
