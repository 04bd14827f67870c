"""Several templates that import from each other, resolved together without deploying any.

A stack's name is chosen at deployment, so an export is often called `<AWS::StackName>-TargetGroupArn` here.
An import matches it with any name in that place: what the importing template was told that stack is called.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollproof.api.placeholder import Placeholder
from rollproof.api.source import Template, load_template
from rollproof.api.template import Resolved, Resource, resolve
from rollproof.core.errors import UsageError

STACK_NAME = "<AWS::StackName>"


class Exports(Mapping[str, Any]):
    """What a set of stacks export, looked up by the name that an import asks for."""

    def __init__(self, stacks: Sequence[Resolved], given: Mapping[str, str]) -> None:
        """`given` are exports of stacks whose templates are not at hand; they come first."""
        self._given = given
        self._entries = [(name, value) for stack in stacks for name, value in stack.exports.items()]

    def __getitem__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        found = [(export, value) for export, value in self._entries if _pattern(export).fullmatch(name)]
        if not found:
            raise KeyError(name)
        longest = max(len(export) for export, _ in found)
        best = [(export, value) for export, value in found if len(export) == longest]
        if len({export for export, _ in best}) < len(best):
            raise UsageError(
                f"the import of {name!r} could mean several exports: more than one template exports {best[0][0]!r}",
                hint="give only the templates that belong together",
            )
        return best[0][1]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._given, *(export for export, _ in self._entries)])

    def __len__(self) -> int:
        return len(self._given) + len(self._entries)


class Stacks:
    """The templates of one deployment, resolved; resources are found across all of them."""

    def __init__(self, stacks: Sequence[Resolved]) -> None:
        self.stacks = tuple(stacks)

    @property
    def names(self) -> str:
        return ", ".join(stack.template.name for stack in self.stacks)

    def of_type(self, *types: str) -> list[Resource]:
        """All resources of these CloudFormation types, templates in the order given."""
        return [resource for stack in self.stacks for resource in stack.resources.values() if resource.type in types]

    def follow(self, value: object) -> Resource | None:
        """The resource that a Ref, GetAtt or import stands for, if it is in one of the templates."""
        if not isinstance(value, Placeholder) or not value.logical_id:
            return None
        for stack in self.stacks:
            if stack.template.name == value.template:
                return stack.resources.get(value.logical_id)
        return None


def resolve_stacks(
    paths: Sequence[Path], parameters: Mapping[str, str], imports: Mapping[str, str] | None = None
) -> Stacks:
    """Load and resolve the templates at `paths`; each gets those of `parameters` that it declares.

    Raises UsageError for whatever is wrong in one of them, for a parameter that none declares, and for an import
    that no other template exports and `imports` does not hold.
    """
    templates = [load_template(path) for path in paths]
    _check(templates, parameters)
    chosen = [_declared(template, parameters) for template in templates]
    # Which names are exported needs no imports; their values may, so each round carries them one stack further.
    stacks = [resolve(template, given) for template, given in zip(templates, chosen, strict=True)]
    for _ in templates:
        stacks = [
            resolve(template, given, imports=Exports(_others(stacks, template), imports or {}))
            for template, given in zip(templates, chosen, strict=True)
        ]
    return Stacks(stacks)


def _check(templates: Sequence[Template], parameters: Mapping[str, str]) -> None:
    if not templates:
        raise UsageError("no template was given", hint="give the files of your stacks: --template aws/ecs.yaml ...")
    names = [template.name for template in templates]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} was given twice")
    declared = sorted({name for template in templates for name in template.section("Parameters")})
    for name in parameters:
        if name not in declared and not name.startswith("AWS::"):
            close = difflib.get_close_matches(name, declared, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(declared) or 'none'}"
            raise UsageError(f"no parameter {name!r} in {', '.join(names)}", hint=hint)


def _declared(template: Template, parameters: Mapping[str, str]) -> dict[str, str]:
    known = template.section("Parameters")
    return {name: value for name, value in parameters.items() if name in known or name.startswith("AWS::")}


def _others(stacks: Sequence[Resolved], template: Template) -> list[Resolved]:
    return [stack for stack in stacks if stack.template is not template]


def _pattern(export: str) -> re.Pattern[str]:
    return re.compile(".+".join(re.escape(part) for part in export.split(STACK_NAME)))
