"""Who refers to whom in a template: found without evaluating anything.

For two purposes: a name that does not exist is an error even in a branch that is not taken, as it is at AWS;
and the order in which resources can be created, a circle among them being an error too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from rollproof.api.intrinsics import function_of, sub_variables
from rollproof.api.source import Place, Template

PSEUDO_PARAMETERS = (
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
)


class ReferenceKind(StrEnum):
    VALUE = "Ref"  # a parameter, pseudo parameter or resource
    ATTRIBUTE = "Fn::GetAtt"
    CONDITION = "Condition"
    DEPENDENCY = "DependsOn"


@dataclass(frozen=True)
class Reference:
    kind: ReferenceKind
    name: str
    place: Place


def references(value: Any, place: Place, takes: Callable[[str], bool] | None = None) -> Iterator[Reference]:
    """All references in `value`. With `takes` (does this condition hold?) only those of branches taken."""
    called = function_of(value)
    if called is not None:
        yield from _of_function(*called, (*place, called[0]), takes)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(item, (*place, key), takes)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, (*place, index), takes)


def _of_function(name: str, argument: Any, place: Place, takes: Callable[[str], bool] | None) -> Iterator[Reference]:
    match name, argument:
        case "Ref", str():
            yield Reference(ReferenceKind.VALUE, argument, place)
        case "Fn::GetAtt", str() | [str(), *_]:
            resource = argument.split(".", 1)[0] if isinstance(argument, str) else argument[0]
            yield Reference(ReferenceKind.ATTRIBUTE, resource, place)
            if isinstance(argument, list):
                yield from references(argument[1:], place, takes)
        case "Fn::Sub", str() | [str(), *_]:
            text, own = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1:])
            names = own[0] if own and isinstance(own[0], Mapping) else {}
            for variable in sub_variables(text):
                if variable not in names:
                    kind = ReferenceKind.ATTRIBUTE if "." in variable else ReferenceKind.VALUE
                    yield Reference(kind, variable.split(".", 1)[0], place)
            yield from references(names, (*place, 1), takes)
        case "Fn::If", [str(), _, _]:
            yield Reference(ReferenceKind.CONDITION, argument[0], place)
            for branch in (1, 2) if takes is None else (1 if takes(argument[0]) else 2,):
                yield from references(argument[branch], (*place, branch), takes)
        case _:
            yield from references(argument, place, takes)


def check_references(template: Template) -> None:
    """Raise UsageError, with file and line, for the first name that nothing in the template has."""
    known = {
        ReferenceKind.VALUE: (*PSEUDO_PARAMETERS, *template.section("Parameters"), *template.section("Resources")),
        ReferenceKind.ATTRIBUTE: tuple(template.section("Resources")),
        ReferenceKind.DEPENDENCY: tuple(template.section("Resources")),
        ReferenceKind.CONDITION: tuple(template.section("Conditions")),
    }
    what = {
        ReferenceKind.VALUE: "neither a parameter nor a resource of the template",
        ReferenceKind.ATTRIBUTE: "no resource of the template",
        ReferenceKind.DEPENDENCY: "no resource of the template",
        ReferenceKind.CONDITION: "no condition of the template",
    }
    for reference in _all_references(template):
        if reference.name not in known[reference.kind]:
            close = difflib.get_close_matches(reference.name, known[reference.kind], n=1)
            raise template.error(
                reference.place,
                f"{reference.name!r} is {what[reference.kind]}",
                hint=f"did you mean {close[0]!r}?" if close else "",
            )


def _all_references(template: Template) -> Iterator[Reference]:
    for name, expression in template.section("Conditions").items():
        yield from references(expression, ("Conditions", name))
        yield from condition_references(expression, ("Conditions", name))
    for section, parts in (("Resources", ("Properties", "Metadata", "UpdatePolicy")), ("Outputs", ("Value", "Export"))):
        for name, entry in template.section(section).items():
            if isinstance(entry.get("Condition"), str):
                yield Reference(ReferenceKind.CONDITION, entry["Condition"], (section, name, "Condition"))
            yield from depends_on(entry, (section, name))
            for part in parts:
                yield from references(entry.get(part), (section, name, part))


def condition_references(expression: Any, place: Place) -> Iterator[Reference]:
    """The conditions that a condition is built from: `{"Condition": name}` inside it."""
    if isinstance(expression, Mapping):
        for key, item in expression.items():
            if key == "Condition" and isinstance(item, str):
                yield Reference(ReferenceKind.CONDITION, item, (*place, key))
            else:
                yield from condition_references(item, (*place, key))
    elif isinstance(expression, list):
        for index, item in enumerate(expression):
            yield from condition_references(item, (*place, index))


def depends_on(entry: Mapping[str, Any], place: Place) -> Iterator[Reference]:
    """The explicit dependencies of a resource: `DependsOn` with one name or a list."""
    names = entry.get("DependsOn", [])
    for name in names if isinstance(names, list) else [names]:
        yield Reference(ReferenceKind.DEPENDENCY, str(name), (*place, "DependsOn"))


def creation_order(template: Template, logical_ids: list[str], takes: Callable[[str], bool]) -> list[str]:
    """`logical_ids` such that each comes after what it refers to. Raises UsageError for a circle."""
    graph: dict[str, set[str]] = {}
    for logical_id in logical_ids:
        entry = template.section("Resources")[logical_id]
        place: Place = ("Resources", logical_id)
        found = [*references(entry.get("Properties"), (*place, "Properties"), takes), *depends_on(entry, place)]
        graph[logical_id] = {reference.name for reference in found if reference.name in logical_ids}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        raise template.error(
            ("Resources", circle[0]),
            f"circular dependency: {' -> '.join(circle)}",
            hint="break it, for security groups with separate ingress or egress resources",
        ) from error
