"""What a call of `rollout` may say, sorted: knobs, options of the clients, and what is of the rehearsal itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import EnumMeta
from typing import Any, get_type_hints

from rollproof.api.overrides import find_knob, split_overrides
from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOB_BY_NAME
from rollproof.core.platforms import FARGATE
from rollproof.disruptions import Disruption
from rollproof.probe import ProbeOptions, flags
from rollproof.sim.faults.plan import PlannedFault, parse_fault

STAGES = ("sim", "local", "docker")
_PROBE_TYPES = get_type_hints(ProbeOptions)
PROBE_NAMES = frozenset(x.name for x in fields(ProbeOptions)) - KNOB_BY_NAME.keys() - {"endpoint", "calls"}
_OTHER_NAMES = {"streams": "open_streams", "write": "write_tool", "read": "read_tool"}
"""Names that read better in a test, and what they are called in ProbeOptions."""


@dataclass(frozen=True)
class Arguments:
    """One call's arguments. `probe` and `knobs` hold what was given only."""

    app: object = ""
    stage: str = "sim"
    seed: int = 1
    templates: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    disruption: Disruption = Disruption.ROLLING
    strategy: str = ""
    platform: str = FARGATE
    env: Mapping[str, str] = field(default_factory=dict)
    redis: bool | str = False
    faults: tuple[PlannedFault, ...] = ()
    image: str = ""
    path: str = "/mcp"
    speed: float = 10.0
    timeout_s: float = 0.0
    probe: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)


OWN_NAMES = frozenset(x.name for x in fields(Arguments)) - {"probe", "knobs"}


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """Raises UsageError for a name or a value that means nothing, with the nearest that does."""
    own: dict[str, Any] = {}
    probe: dict[str, Any] = {}
    knobs: dict[str, Any] = {}
    for name, value in given.items():
        option = _OTHER_NAMES.get(name, name)
        if name in OWN_NAMES:
            own[name] = value
        elif option in PROBE_NAMES:
            probe[option] = _probe_option(option, value)
        else:
            knobs[name] = value
    _check_knobs(knobs)
    return Arguments(**_own(own), probe=probe, knobs=knobs)


def pairs(lines: Iterable[str], what: str) -> dict[str, str]:
    """NAME=VALUE lines. Raises UsageError for one without an equals sign."""
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not (name.strip() and equals):
            raise UsageError(f"{what}: {line!r} is not NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def _own(own: dict[str, Any]) -> dict[str, Any]:
    if "disruption" in own:
        own["disruption"] = _choice("disruption", own["disruption"], Disruption)
    if own.get("stage", "sim") not in STAGES:
        raise UsageError(f"there is no stage {own['stage']!r}", hint=f"one of {', '.join(STAGES)}")
    for name in ("templates", "faults"):
        if name in own:
            value = own[name]
            own[name] = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    own["faults"] = tuple(_fault(fault) for fault in own.get("faults", ()))
    own["templates"] = tuple(str(path) for path in own.get("templates", ()))
    for name in ("parameters", "env"):
        if not isinstance(own.get(name, {}), Mapping):
            raise UsageError(f"{name} is {own[name]!r}", hint=f"a dictionary: {name}={{'NAME': 'value'}}")
        own[name] = {str(key): _text(value) for key, value in own.get(name, {}).items()}
    for name in ("seed", "speed", "timeout_s"):
        if name in own and (isinstance(own[name], bool) or not isinstance(own[name], int | float)):
            raise UsageError(f"{name} is {own[name]!r}, and no number")
    return own


def _fault(fault: Any) -> PlannedFault:
    if isinstance(fault, PlannedFault):
        return fault
    if isinstance(fault, str):
        return parse_fault(fault)
    raise UsageError(f"faults has {fault!r}", hint='lines like "hang at target draining + 3 s for 30 s"')


def _text(value: Any) -> str:
    """As templates and environments have it: true, 3, text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _probe_option(name: str, value: Any) -> Any:
    wanted = _PROBE_TYPES[name]
    if isinstance(wanted, EnumMeta):
        return _choice(name, value, wanted)
    if name == "activities":
        return flags.activities(value if isinstance(value, str) else ",".join(map(str, value)))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(wanted, type) and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
        raise UsageError(f"{name} is {value!r}", hint=f"it must be of type {wanted.__name__}")
    return value


def _choice(name: str, value: Any, kind: Any) -> Any:
    choices = [str(choice.value) for choice in kind]
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", hint=f"one of {', '.join(choices)}")
    return kind(value)


def _check_knobs(knobs: Mapping[str, Any]) -> None:
    for name in split_overrides(knobs)[0]:
        try:
            find_knob(name)
        except UsageError as error:
            ours = (OWN_NAMES | PROBE_NAMES | _OTHER_NAMES.keys()) - {"open_streams"}
            if close := difflib.get_close_matches(name, sorted(ours), n=1, cutoff=0.75):
                raise UsageError(f"rollout() has no argument {name!r}", hint=f"did you mean {close[0]}?") from error
            raise UsageError(f"rollout() has no argument {name!r}, and no knob", hint=error.hint) from error
