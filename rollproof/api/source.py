"""CloudFormation templates as text: YAML with its short forms, or JSON; with a line number for every value.

`!Sub x` becomes `{"Fn::Sub": "x"}`, `!GetAtt A.B.C` becomes `{"Fn::GetAtt": ["A", "B.C"]}`; nothing is resolved
here. Dates stay text (`Version: 2012-10-17`), a key that stands twice is an error, and a document that
would grow without measure through aliases is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from rollproof.core.errors import UsageError

Place = tuple[str | int, ...]
"""Where a value stands in a template: ("Resources", "Service", "Properties", "LoadBalancers", 0)."""

SECTIONS = frozenset(
    {"AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Rules", "Mappings", "Conditions",
     "Transform", "Hooks", "Resources", "Outputs"}
)  # fmt: skip

_MAX_BYTES = 1_048_576  # CloudFormation's limit for a template in S3
_MAX_NODES = 200_000
_MAX_DEPTH = 100


@dataclass(frozen=True)
class Template:
    """A template as written. `name` is how messages call it: its path, as the user gave it."""

    name: str
    body: Mapping[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict, repr=False)

    def where(self, place: Place) -> str:
        """ "aws/ecs.yaml:31: Resources.Service.Properties"; the nearest known line around `place`."""
        for length in range(len(place), -1, -1):
            line = self.lines.get(place[:length])
            if line is not None:
                break
        else:
            line = None
        dotted = ".".join(f"[{part}]" if isinstance(part, int) else part for part in place).replace(".[", "[")
        return ": ".join(filter(None, (self.name if line is None else f"{self.name}:{line}", dotted)))

    def error(self, place: Place, message: str, *, hint: str = "") -> UsageError:
        return UsageError(f"{self.where(place)}: {message}", hint=hint)

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the template, empty where it has none. Raises UsageError if it is no mapping."""
        section = self.body.get(name)
        if section is None:
            return {}
        if not isinstance(section, Mapping):
            raise self.error((name,), f"{name} must be a mapping of names, not {_kind(section)}")
        return section


def load_template(path: Path) -> Template:
    """Read and parse the template at `path`. Raises UsageError with file and line for whatever is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"template {path}: {reason}", hint="give the path of a CloudFormation template") from error
    return parse_template(text, display_name(path))


@lru_cache(maxsize=16)  # a matrix reads the same two for each of its cells
def parse_template(text: str, name: str = "template") -> Template:
    """Parse `text`, YAML or JSON. Raises UsageError as `load_template` does. What it gives is not to be changed."""
    if len(text) > _MAX_BYTES:
        raise UsageError(f"{name}: larger than CloudFormation's limit of {_MAX_BYTES} bytes")
    is_json = text.lstrip().startswith("{")
    node = _compose(text.replace("\t", " ") if is_json else text, name, tolerant=is_json)
    builder = _Builder(name)
    body: Any = builder.build(node, ()) if node is not None else None
    if is_json:
        body = _parse_json(text, name)
    if not isinstance(body, Mapping):
        raise UsageError(f"{name}: not a CloudFormation template: {_kind(body)} at the top, not a mapping")
    template = Template(name, body, builder.lines)
    _check_sections(template)
    return template


def display_name(path: Path) -> str:
    """`path` as messages show it: relative to the working directory where it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _check_sections(template: Template) -> None:
    for key in template.body:
        if key not in SECTIONS:
            raise template.error((key,), f"unknown section {key!r}", hint=f"sections are {', '.join(sorted(SECTIONS))}")
    if not template.section("Resources"):
        raise UsageError(f"{template.name}: not a CloudFormation template: it has no Resources")
    for section in ("Resources", "Parameters", "Outputs", "Mappings"):
        for name, value in template.section(section).items():
            if not isinstance(value, Mapping):
                raise template.error((section, name), f"must be a mapping, not {_kind(value)}")


class _Loader(yaml.SafeLoader):
    """SafeLoader without dates, so that `2012-10-17` stays what was written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _compose(text: str, name: str, *, tolerant: bool) -> yaml.Node | None:
    """The node tree. With `tolerant` an error means "no line numbers" and not a fault of the template."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        if tolerant:
            return None
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deeply"
        raise UsageError(f"{place}: not valid YAML: {problem}") from error
    return node


def _parse_json(text: str, name: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, name))
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UsageError(f"{name}: the key {key!r} stands twice in one object")
        found[key] = value
    return found


class _Builder:
    """Turns nodes into plain values and notes the line of each."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Place, int] = {}
        self._name = name
        self._scalars = yaml.constructor.SafeConstructor()
        self._nodes = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(place) > _MAX_DEPTH:
            raise UsageError(f"{self._at(node)}: too large or too deep; does an alias contain itself?")
        self.lines.setdefault(place, node.start_mark.line + 1)
        if node.tag.startswith("!"):
            return self._short_form(node, place)
        return self._plain(node, place)

    def _plain(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"{self._at(node)}: {node.value!r} cannot be read: {error}") from error

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise UsageError(f"{self._at(key_node)}: a key must be text")
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise UsageError(f"{self._at(key_node)}: CloudFormation knows no merge keys (<<)")
            key = str(key_node.value)
            if key in found:
                raise UsageError(f"{self._at(key_node)}: the key {key!r} stands twice")
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            found[key] = self.build(value_node, (*place, key))
        return found

    def _short_form(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        """`!Name value` in its long form. What functions there are is for the resolver to say."""
        name = node.tag[1:]
        function = name if name in ("Ref", "Condition") else f"Fn::{name}"
        if isinstance(node, yaml.ScalarNode):
            # A tag of one's own replaces the implicit one; text is what functions take.
            value: Any = node.value
            if name == "GetAtt":
                value = node.value.split(".", 1)
        else:
            value = self._plain(node, (*place, function))
        return {function: value}

    def _at(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), "a number")
