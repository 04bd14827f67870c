"""Resolves a CloudFormation template: parameters, conditions and intrinsic functions become plain values.

`resolve` gives the whole template at once. With `strict=False` it needs no account and no deployment: what exists
only after one stays a readable placeholder, `<TargetGroup>` or `<LoadBalancer.DNSName>`. With `strict=True` such
a value must be in `deployed`, which an engine fills while it creates the resources in `creation_order`.

It knows functions, not resource types: what a property means is for the reader of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollproof.api.intrinsics import NO_VALUE, as_text, call, function_of
from rollproof.api.parameters import resolve_parameters
from rollproof.api.placeholder import Placeholder
from rollproof.api.references import PSEUDO_PARAMETERS, check_references, creation_order
from rollproof.api.source import Place, Template, load_template, parse_template
from rollproof.core.errors import NotModelled, UsageError

__all__ = [
    "Environment",
    "Output",
    "Placeholder",
    "Resolved",
    "Resource",
    "Template",
    "load_template",
    "parse_template",
    "resolve",
]

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT = "123456789012"
_LANGUAGE_EXTENSIONS = "AWS::LanguageExtensions"  # Fn::Length, Fn::ToJsonString, FindInMap's DefaultValue
_ZONE_LETTERS = "abc"


@dataclass(frozen=True)
class Resource:
    """One resource whose condition holds. `properties` are resolved; `entry` is the whole as written."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]
    entry: Mapping[str, Any] = field(repr=False)
    template: Template = field(repr=False)

    def where(self, *path: str | int) -> str:
        """File, line and name of a property: "aws/ecs.yaml:31: Resources.Service.Properties.Cluster"."""
        return self.template.where(("Resources", self.logical_id, "Properties", *path))


@dataclass(frozen=True)
class Output:
    """One output whose condition holds; `export` is the name it is exported under, "" if it is not."""

    name: str
    value: Any
    export: str = ""


@dataclass(frozen=True)
class Resolved:
    """A template with nothing left to evaluate."""

    template: Template
    parameters: Mapping[str, Any]
    conditions: Mapping[str, bool]
    resources: Mapping[str, Resource]
    outputs: Mapping[str, Output]

    @property
    def exports(self) -> dict[str, Any]:
        return {output.export: output.value for output in self.outputs.values() if output.export}


def resolve(
    template: Template,
    parameters: Mapping[str, str] | None = None,
    *,
    imports: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> Resolved:
    """Evaluate all of `template`.

    `parameters` may also hold pseudo parameters ("AWS::Region"). `imports` are the exports of other stacks; with
    None and `strict=False` an import stays a placeholder. Raises UsageError, with file and line, for whatever is
    wrong, and NotModelled for a function or transform that is not supported.
    """
    env = Environment(template, parameters, imports=imports, strict=strict)
    resources = {logical_id: env.resource(logical_id) for logical_id in env.creation_order()}
    return Resolved(
        template=template,
        parameters=env.parameters,
        conditions={name: env.condition(name, ("Conditions", name)) for name in template.section("Conditions")},
        resources={logical_id: resources[logical_id] for logical_id in env.logical_ids},
        outputs={name: env.output(name) for name in template.section("Outputs") if env.is_kept("Outputs", name)},
    )


class Environment:
    """What names mean while a template is evaluated. Raises UsageError when the template cannot be right."""

    def __init__(
        self,
        template: Template,
        parameters: Mapping[str, str] | None = None,
        *,
        imports: Mapping[str, Any] | None = None,
        strict: bool = False,
        deployed: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        """`deployed` maps (logical id, attribute) to what is known of a live resource, attribute "" for its Ref."""
        given = parameters or {}
        self.template = template
        self._imports = imports
        self._strict = strict
        self._deployed: Mapping[tuple[str, str], Any] = {} if deployed is None else deployed
        self._conditions: dict[str, bool] = {}
        self._pending: list[str] = []
        self.has_language_extensions = False
        self._read_transforms()
        check_references(template)
        self.parameters = resolve_parameters(template, given, strict=strict)
        self._pseudo = self._pseudo_parameters(given)

    @property
    def logical_ids(self) -> list[str]:
        """The resources whose condition holds, as the template orders them."""
        return [name for name in self.template.section("Resources") if self.is_kept("Resources", name)]

    def is_kept(self, section: str, name: str) -> bool:
        """Whether the condition of a resource or output holds; without one it does."""
        condition = self.template.section(section)[name].get("Condition")
        return condition is None or self.condition(str(condition), (section, name, "Condition"))

    def creation_order(self) -> list[str]:
        """The kept resources, each after all that it refers to."""
        return creation_order(self.template, self.logical_ids, lambda name: self.condition(name, ("Conditions", name)))

    def resource(self, logical_id: str) -> Resource:
        """One resource with its properties evaluated."""
        entry = self.template.section("Resources")[logical_id]
        place: Place = ("Resources", logical_id)
        if not isinstance(entry.get("Type"), str):
            raise self.error(place, "a resource needs a Type")
        evaluated = self.evaluate(entry.get("Properties") or {}, (*place, "Properties"))
        if not isinstance(evaluated, Mapping):
            raise self.error((*place, "Properties"), "must be a mapping of properties")
        return Resource(logical_id, entry["Type"], evaluated, entry, self.template)

    def output(self, name: str) -> Output:
        """One output with its value and the name it is exported under."""
        place: Place = ("Outputs", name)
        entry = self.template.section("Outputs")[name]
        if "Value" not in entry:
            raise self.error(place, "an output needs a Value")
        export = entry.get("Export")
        exported = self.evaluate(export, (*place, "Export")) if export is not None else {"Name": ""}
        if not isinstance(exported, Mapping) or as_text(exported.get("Name")) is None:
            raise self.error((*place, "Export"), "Export takes a Name")
        return Output(name, self.evaluate(entry["Value"], (*place, "Value")), exported["Name"])

    def evaluate(self, value: Any, place: Place) -> Any:
        """`value` with every function in it evaluated; AWS::NoValue takes its key or item away."""
        called = function_of(value)
        if called is not None:
            return call(self, *called, (*place, called[0]))
        if isinstance(value, Mapping):
            for key in value:
                if key.startswith("Fn::"):
                    raise self.error((*place, key), f"{key} must be the only key where it stands")
            items = ((key, self.evaluate(item, (*place, key))) for key, item in value.items())
            return {key: item for key, item in items if item is not NO_VALUE}
        if isinstance(value, list):
            evaluated = (self.evaluate(item, (*place, index)) for index, item in enumerate(value))
            return [item for item in evaluated if item is not NO_VALUE]
        return value

    def reference(self, name: str, place: Place) -> Any:
        """What `Ref: name` is: a parameter, a pseudo parameter, or a resource's physical id."""
        if name in self.parameters:
            return self.parameters[name]
        if name in self._pseudo:
            return self._pseudo[name]
        return self.attribute(name, "", place)

    def attribute(self, logical_id: str, attribute: str, place: Place) -> Any:
        """What `Fn::GetAtt: [logical_id, attribute]` is; its Ref when `attribute` is ""."""
        if logical_id not in self.template.section("Resources"):
            raise self.error(place, f"{logical_id!r} is no resource of the template")
        if not self.is_kept("Resources", logical_id):
            condition = self.template.section("Resources")[logical_id]["Condition"]
            raise self.error(
                place,
                f"refers to {logical_id}, which is not created: its condition {condition} does not hold",
                hint=f"put the reference into an Fn::If of {condition}",
            )
        if (logical_id, attribute) in self._deployed:
            return self._deployed[(logical_id, attribute)]
        if self._strict:
            raise self.error(place, f"{logical_id}{f'.{attribute}' if attribute else ''} is not known yet")
        return Placeholder.of(self.template.name, logical_id, attribute)

    def condition(self, name: str, place: Place) -> bool:
        """Whether a condition holds; each is evaluated once."""
        if name in self._conditions:
            return self._conditions[name]
        expressions = self.template.section("Conditions")
        if name not in expressions:
            raise self.error(place, f"{name!r} is no condition of the template")
        if name in self._pending:
            circle = " -> ".join([*self._pending[self._pending.index(name) :], name])
            raise self.error(("Conditions", name), f"circular conditions: {circle}")
        self._pending.append(name)
        self._conditions[name] = self._holds(expressions[name], ("Conditions", name))
        self._pending.pop()
        return self._conditions[name]

    def imported(self, name: str, place: Place) -> Any:
        """What another stack exports as `name`."""
        if self._imports is None:
            if self._strict:
                raise self.error(place, f"no export named {name!r}")
            return Placeholder(f"<import:{name}>")
        try:
            return self._imports[name]
        except KeyError:
            known = ", ".join(self._imports)
            hint = f"exported are {known}" if known else "nothing is exported: give the template that exports it too"
            raise self.error(place, f"no export named {name!r}", hint=hint) from None

    def availability_zones(self, region: str) -> list[str]:
        """Three zones by the usual names; which zones an account really has, only the account knows."""
        return [f"{region or self._pseudo['AWS::Region']}{letter}" for letter in _ZONE_LETTERS]

    def error(self, place: Place, message: str, *, hint: str = "") -> UsageError:
        return self.template.error(place, message, hint=hint)

    def not_modelled(self, place: Place, message: str, *, known: list[str]) -> NotModelled:
        return NotModelled(f"{self.template.where(place)}: {message}", hint=f"supported are {', '.join(known)}")

    def _holds(self, expression: Any, place: Place) -> bool:
        """A condition's expression: Fn::Equals, And, Or, Not, or the name of another condition."""
        (name, argument), *rest = expression.items() if isinstance(expression, Mapping) and expression else [("", None)]
        place = (*place, name) if name else place
        operands = argument if isinstance(argument, list) else []
        match name, len(operands):
            case "Condition", _ if isinstance(argument, str) and not rest:
                return self.condition(argument, place)
            case "Fn::Equals", 2:
                left, right = (self.evaluate(item, (*place, index)) for index, item in enumerate(operands))
                return bool(_comparable(left) == _comparable(right))
            case "Fn::Not", 1:
                return not self._holds(operands[0], (*place, 0))
            case (("Fn::And" | "Fn::Or"), count) if 2 <= count <= 10:
                values = [self._holds(item, (*place, index)) for index, item in enumerate(operands)]
                return all(values) if name == "Fn::And" else any(values)
            case (("Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or"), count):
                wanted = {"Fn::Equals": "two values", "Fn::Not": "one condition"}.get(name, "2 to 10 conditions")
                raise self.error(place, f"{name} takes {wanted}, not {count}")
        if name.startswith("Fn::"):
            known = ["Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or"]
            raise self.not_modelled(place, f"the function {name} is not supported in a condition", known=known)
        raise self.error(place, "a condition is Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition: a name")

    def _read_transforms(self) -> None:
        transforms = self.template.body.get("Transform", [])
        for name in transforms if isinstance(transforms, list) else [transforms]:
            if name == _LANGUAGE_EXTENSIONS:
                self.has_language_extensions = True
            else:
                raise self.not_modelled(
                    ("Transform",), f"the transform {name} is not supported", known=[_LANGUAGE_EXTENSIONS]
                )

    def _pseudo_parameters(self, given: Mapping[str, str]) -> dict[str, Any]:
        region = given.get("AWS::Region", DEFAULT_REGION)
        china = region.startswith("cn-")
        values: dict[str, Any] = {
            "AWS::AccountId": DEFAULT_ACCOUNT,
            "AWS::NoValue": NO_VALUE,
            "AWS::NotificationARNs": [],
            "AWS::Partition": "aws-cn" if china else "aws-us-gov" if region.startswith("us-gov-") else "aws",
            "AWS::Region": region,
            "AWS::StackId": Placeholder("<AWS::StackId>"),
            "AWS::StackName": Placeholder("<AWS::StackName>"),
            "AWS::URLSuffix": "amazonaws.com.cn" if china else "amazonaws.com",
        }
        for name, value in given.items():
            if name.startswith("AWS::") and (name not in PSEUDO_PARAMETERS or name == "AWS::NoValue"):
                raise UsageError(f"{name!r} is no pseudo parameter that can be given")
            if name.startswith("AWS::"):
                values[name] = value
        return values


def _comparable(value: Any) -> Any:
    """Scalars are compared as text: CloudFormation's "2" equals 2, and "true" equals true."""
    text = as_text(value)
    return value if text is None else text
