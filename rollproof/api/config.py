"""rollproof.toml: a project's own defaults for the command line.

    [template]
    files = ["aws/infrastructure.yaml", "aws/ecs.yaml"]   # from the file's own directory
    service = "Service"            # where the templates have several
    [template.parameters]          # of the templates; "AWS::Region" too
    DesiredCount = 3
    [template.imports]             # exports of stacks whose templates are not at hand

    [set]                          # knobs and timings, as with --set
    deregistration_delay_s = 30

    [server]
    app = "module:factory"         # or command = "program that listens on $PORT"
    [server.env]

    [probe]                        # the options of the probe
    sessions = 20

Every table and key is checked: a setting that is spelt wrong and silently ignored would make a rehearsal lie.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import EnumMeta
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from rollproof.api.overrides import ENVIRONMENT, find_knob, split_overrides
from rollproof.api.source import display_name
from rollproof.core.errors import UsageError
from rollproof.probe.options import ProbeOptions

_TABLES: Mapping[str, tuple[str, ...]] = {
    "template": ("files", "parameters", "imports", "service"),
    "set": (),  # any knob
    "server": ("app", "command", "env"),
    "probe": tuple(each.name for each in fields(ProbeOptions) if each.name != "endpoint"),
}
_PROBE_TYPES = get_type_hints(ProbeOptions)


@dataclass(frozen=True)
class Config:
    """What the file says; empty where it says nothing. `probe` holds keyword arguments of ProbeOptions."""

    path: Path
    template_files: tuple[Path, ...] = ()
    template_parameters: Mapping[str, str] = field(default_factory=dict)
    template_imports: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    app: str = ""
    command: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What the source of a setting from this file is called."""
        return self.path.name


def load_config(path: Path) -> Config:
    """Read rollproof.toml. Raises UsageError, with the line where it is known, for whatever it should not say."""
    name = display_name(path)
    try:
        text = path.read_text(encoding="utf-8")
        body = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from error
    return _Reader(path, name, text, body).config()


class _Reader:
    """Takes the tables apart, checking each key."""

    def __init__(self, path: Path, name: str, text: str, body: Mapping[str, Any]) -> None:
        self._path, self._name, self._lines, self._body = path, name, text.splitlines(), body
        self._check_known((), body, _TABLES)
        for table, keys in _TABLES.items():
            content = self._table(table)
            if keys:
                self._check_known((table,), content, keys)

    def config(self) -> Config:
        config = Config(
            path=self._path,
            template_files=tuple(self._path.parent / file for file in self._files()),
            template_parameters=self._texts("template", "parameters"),
            template_imports=self._texts("template", "imports"),
            service=self._text("template", "service"),
            overrides=self._overrides(),
            app=self._text("server", "app"),
            command=self._text("server", "command"),
            env=self._texts("server", "env"),
            probe={key: self._probe_option(key, value) for key, value in self._table("probe").items()},
        )
        if config.app and config.command:
            raise self._error(("server", "command"), "app and command exclude each other")
        return config

    def _table(self, *path: str) -> Mapping[str, Any]:
        found: Any = self._body
        for key in path:
            found = found.get(key, {})
            if not isinstance(found, Mapping):
                raise self._error(path, f"[{'.'.join(path)}] must be a table")
        return found  # type: ignore[no-any-return]

    def _files(self) -> list[str]:
        files = self._table("template").get("files", [])
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise self._error(("template", "files"), "files must be a list of paths")
        return files

    def _text(self, table: str, key: str) -> str:
        value = self._table(table).get(key, "")
        if not isinstance(value, str):
            raise self._error((table, key), f"{key} must be text")
        return value

    def _texts(self, *path: str) -> dict[str, str]:
        return {key: self._scalar((*path, key), value) for key, value in self._table(*path).items()}

    def _overrides(self) -> dict[str, str]:
        overrides = {key: self._override(key, value) for key, value in self._table("set").items()}
        for key in split_overrides(overrides)[0]:
            if key.startswith(ENVIRONMENT):
                continue
            try:
                find_knob(key)
            except UsageError as error:
                raise self._error(("set", key), error.message, hint=error.hint) from error
        return overrides

    def _override(self, key: str, value: Any) -> str:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return "[" + ", ".join(f'"{item}"' for item in value) + "]"
        return self._scalar(("set", key), value)

    def _scalar(self, path: tuple[str, ...], value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise self._error(path, f"{path[-1]} must be text, a number, true or false")
        return str(value)

    def _probe_option(self, key: str, value: Any) -> Any:
        wanted = _PROBE_TYPES[key]
        if isinstance(wanted, EnumMeta):
            choices = [str(choice.value) for choice in wanted]  # type: ignore[var-annotated]
            if value not in choices:
                raise self._error(("probe", key), f"{key} is one of {', '.join(choices)}, not {value!r}")
            return wanted(value)
        if get_origin(wanted) is tuple:
            return self._choices(key, value, get_args(wanted)[0])
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        kind = wanted if isinstance(wanted, type) else Mapping
        if not isinstance(value, kind) or (wanted is int and isinstance(value, bool)):
            shown = wanted.__name__ if isinstance(wanted, type) else "a table"
            raise self._error(("probe", key), f"{key} must be {shown}, not {value!r}")
        return value

    def _choices(self, key: str, value: Any, kind: EnumMeta) -> tuple[Any, ...]:
        """A list of an enumeration's values, each once."""
        choices = [str(choice.value) for choice in kind]  # type: ignore[var-annotated]
        if not isinstance(value, list) or not all(item in choices for item in value):
            raise self._error(("probe", key), f"{key} is a list of some of {', '.join(choices)}, not {value!r}")
        return tuple(kind(item) for item in dict.fromkeys(value))

    def _check_known(self, path: tuple[str, ...], content: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in content:
            if key not in known:
                close = difflib.get_close_matches(key, list(known), n=1)
                what = f"key {key!r} in [{path[0]}]" if path else f"table [{key}]"
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                raise self._error((*path, key), f"unknown {what}", hint=hint)

    def _error(self, path: tuple[str, ...], message: str, *, hint: str = "") -> UsageError:
        line = self._line(path)
        return UsageError(f"{self._name}{f':{line}' if line else ''}: {message}", hint=hint)

    def _line(self, path: tuple[str, ...]) -> int | None:
        """The line of `path`: its key below its table's header, or the header itself; None if written otherwise."""
        table, key = path[:-1], path[-1]
        current: tuple[str, ...] = ()
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[([^\[\]]+)\]", line)
            if header:
                current = tuple(part.strip().strip("\"'") for part in header[1].split("."))
                if current[: len(path)] == path:
                    return number
            elif current == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""", line):
                return number
        return None
