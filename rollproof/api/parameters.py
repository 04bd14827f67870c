"""Template parameters: what was given, or the default, checked as CloudFormation checks it.

CFN-UG/parameters-section-structure. Values arrive as text; a Number comes out as a number, a list type as a list
of text. What lives in Systems Manager is known only in an account, so it stays a placeholder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rollproof.api.placeholder import Placeholder
from rollproof.api.source import Place, Template
from rollproof.core.errors import NotModelled, UsageError

_SSM = re.compile(r"AWS::SSM::Parameter::Value<(.+)>")
_LIST = re.compile(r"List<(.+)>")
_RESOURCE = re.compile(r"AWS::(EC2|Route53|ElasticLoadBalancing)[A-Za-z0-9]*::[A-Za-z0-9:]+")
_FIELDS = frozenset(
    {"Type", "Default", "Description", "AllowedValues", "AllowedPattern", "ConstraintDescription", "MinLength",
     "MaxLength", "MinValue", "MaxValue", "NoEcho"}
)  # fmt: skip


def resolve_parameters(template: Template, given: Mapping[str, str], *, strict: bool) -> dict[str, Any]:
    """The value of every parameter of `template`. Keys "AWS::..." of `given` are pseudo parameters and skipped.

    Raises UsageError for a value that is missing or not allowed, and for a given name that the template lacks.
    """
    declared = template.section("Parameters")
    for name in given:
        if name not in declared and not name.startswith("AWS::"):
            raise UsageError(f"{template.name} has no parameter {name!r}", hint=_nearest(name, declared))
    return {name: _Parameter(template, name, strict).resolve(given.get(name)) for name in declared}


def _nearest(name: str, declared: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, declared, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it has {', '.join(declared)}" if declared else "it has none"


class _Parameter:
    """One declaration, and the checks that it asks for."""

    def __init__(self, template: Template, name: str, strict: bool) -> None:
        self._template = template
        self._name = name
        self._place: Place = ("Parameters", name)
        self._declared: Mapping[str, Any] = template.section("Parameters")[name]
        self._strict = strict
        for key in self._declared:
            if key not in _FIELDS:
                raise template.error((*self._place, key), f"unknown field {key!r} of a parameter")
        self._type = str(self._declared.get("Type", ""))

    def resolve(self, given: str | None) -> Any:
        text = self._text(given)
        if _SSM.fullmatch(self._type):
            if self._strict:
                raise NotModelled(
                    f"{self._template.where(self._place)}: parameter {self._name} is read from Systems Manager",
                    hint="make it a String and give its value",
                )
            return Placeholder(f"<ssm:{text}>")
        item_type = "String" if self._type == "CommaDelimitedList" else self._list_type()
        if item_type is None:
            return self._item(text, self._type)
        items = [part.strip() for part in text.split(",")] if text else []
        return [self._item(item, item_type) for item in items]

    def _text(self, given: str | None) -> str:
        if given is not None:
            return str(given)
        if "Default" not in self._declared:
            raise self._template.error(
                self._place,
                f"parameter {self._name} has no default and no value was given",
                hint=f"give one: --parameter {self._name}=...",
            )
        default = self._declared["Default"]
        if isinstance(default, bool):
            return "true" if default else "false"
        if not isinstance(default, str | int | float):
            raise self._template.error((*self._place, "Default"), "a default is text or a number")
        return str(default)

    def _list_type(self) -> str | None:
        match = _LIST.fullmatch(self._type)
        return match[1] if match else None

    def _item(self, text: str, kind: str) -> Any:
        if kind not in ("String", "Number", "AWS::SSM::Parameter::Name") and not _RESOURCE.fullmatch(kind):
            raise self._template.error(
                (*self._place, "Type"), f"parameter {self._name} has an unknown type {self._type!r}"
            )
        value: Any = text if kind != "Number" else self._number(text)
        for complaint in self._complaints(text, value):
            own = self._declared.get("ConstraintDescription")
            raise self._template.error(
                self._place,
                f"parameter {self._name} is {self._shown(text)}: {own or complaint}",
                hint=str(self._declared.get("Description", "")),
            )
        return value

    def _shown(self, text: str) -> str:
        return "****" if str(self._declared.get("NoEcho", "")).lower() == "true" else repr(text)

    def _number(self, text: str) -> int | float:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        raise self._template.error(self._place, f"parameter {self._name} is {self._shown(text)}: not a number")

    def _complaints(self, text: str, value: Any) -> Iterator[str]:
        declared = self._declared
        allowed = declared.get("AllowedValues")
        if isinstance(allowed, list) and text not in [_as_text(item) for item in allowed]:
            yield f"allowed are {', '.join(_as_text(item) for item in allowed)}"
        pattern = declared.get("AllowedPattern")
        if pattern is not None and not self._matches(str(pattern), text):
            yield f"it must match {pattern}"
        for field, size in (
            ("MinLength", len(text)),
            ("MaxLength", len(text)),
            ("MinValue", value),
            ("MaxValue", value),
        ):
            if field not in declared:
                continue
            if not isinstance(size, int | float):
                raise self._template.error((*self._place, field), f"{field} is for parameters of type Number")
            limit = self._number(_as_text(declared[field]))
            if (size < limit) if field.startswith("Min") else (size > limit):
                yield f"{field} is {declared[field]}"

    def _matches(self, pattern: str, text: str) -> bool:
        try:
            return re.fullmatch(pattern, text) is not None
        except re.error as error:
            raise self._template.error(
                (*self._place, "AllowedPattern"), f"not a regular expression: {error}"
            ) from error


def _as_text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
