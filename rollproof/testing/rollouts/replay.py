"""How to have a rollout again: the commands, and the same call as a test to paste."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rollproof.probe import Activity, ProbeOptions
from rollproof.rehearsal import Rehearsal
from rollproof.sim.faults.plan import PlannedFault
from rollproof.testing.rollouts.apps import AppChoice
from rollproof.testing.rollouts.arguments import Arguments

_PLAIN = ProbeOptions("http://localhost/mcp")
_FLAGS = {
    "sessions": "--sessions", "delay_s": "--delay", "era": "--era", "cookies": "--cookies",
    "session_ids": "--session-ids", "retries": "--retries", "increments": "--increments",
    "slow_every": "--slow-every", "slow_s": "--slow",
}  # fmt: skip
_SWITCHES = {"reinitialise": "reinitialise", "replay": "replay", "open_streams": "streams"}
_ALWAYS = ("sessions", "delay_s")


@dataclass(frozen=True)
class Commands:
    """`rehearse` is "" where the command line cannot say the same."""

    again: str
    report: str
    rehearse: str = ""


def pytest_command(nodeid: str, asked: Arguments) -> str:
    """The same test with the same seed."""
    words = ["pytest", nodeid, "--rollproof-seed", str(asked.seed)]
    return shlex.join([*words, "--rollproof-stage", asked.stage] if asked.stage != "sim" else words)


def commands(asked: Arguments, app: AppChoice, rehearsal: Rehearsal, run_dir: Path) -> Commands:
    report = shlex.join(["rollproof", "report", str(run_dir)])
    words = _rehearse_words(asked, app, rehearsal)
    return Commands(rehearsal.command, report, shlex.join(words) if words else "")


def _rehearse_words(asked: Arguments, app: AppChoice, rehearsal: Rehearsal) -> list[str]:
    """`rollproof rehearse ...`, in the project's directory; nothing where a flag is missing for what was said."""
    probe = rehearsal.probe
    flagged = {*_FLAGS, *_SWITCHES, "activities", "endpoint"}
    unsayable = [x.name for x in fields(probe) if x.name not in flagged and getattr(probe, x.name) != _default(x.name)]
    if unsayable or app.factory or asked.redis:
        return []
    words = ["rollproof", "rehearse", "--stage", asked.stage]
    words += ["--app", app.name] if app.name else ["--image", asked.image] if asked.image else []
    words += ["--strategy", asked.strategy] if asked.strategy else []
    words += ["--platform", asked.platform] if asked.platform != Arguments.platform else []
    words += ["--disruption", asked.disruption.value] if asked.disruption is not Arguments.disruption else []
    for fault in asked.faults:
        words += ["--fault", str(fault)]
    for path in asked.templates:
        words += ["--template", path]
    for flag, named in (("--parameter", asked.parameters), ("--env", asked.env), ("--set", asked.knobs)):
        for name, value in named.items():
            words += [flag, f"{name}={_text(value)}"]
    words += _client_words(rehearsal.probe, asked)
    words += ["--path", asked.path] if asked.path != Arguments.path else []
    return [*words, "--seed", str(asked.seed)]


def _client_words(probe: ProbeOptions, asked: Arguments) -> list[str]:
    words = []
    for name, flag in _FLAGS.items():
        if name in _ALWAYS or name in asked.probe:
            words += [flag, _text(getattr(probe, name))]
    for name, flag in _SWITCHES.items():
        if name in asked.probe:
            words.append(f"--{flag}" if getattr(probe, name) else f"--no-{flag}")
    if probe.activities:
        words += ["--activities", "all" if probe.activities == tuple(Activity) else ",".join(probe.activities)]
    return words


def pasteable(said: Mapping[str, Any], asked: Arguments) -> str:
    """A test that makes the same call, with the seed that was used."""
    given = dict(said) | {"seed": asked.seed}
    if asked.app:
        given["app"] = asked.app
    if asked.stage != "sim":
        given["stage"] = asked.stage
    app = given.pop("app", None)
    values = [] if app is None else [_literal(app)]
    values += [f"{name}={_literal(value)}" for name, value in given.items() if name.isidentifier()]
    others = {name: value for name, value in given.items() if not name.isidentifier()}
    values += [f"**{_literal(others)}"] if others else []
    lines = ["def test_rollout(rollout):", "    result = rollout(", *(f"        {value}," for value in values), "    )"]
    return "\n".join([*lines, "    result.assert_survived()"])


def _literal(value: Any) -> str:
    """As it is written: a function by its name, a path as its text."""
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__).rpartition(".")[2]
    text = str(value) if isinstance(value, Path) else value
    if isinstance(text, PlannedFault):
        return _literal(str(text))
    if isinstance(text, list | tuple):
        return f"[{', '.join(map(_literal, text))}]"
    return json.dumps(text, ensure_ascii=False) if isinstance(text, str) else repr(text)


def _default(name: str) -> Any:
    return getattr(_PLAIN, name)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
