"""Settings as a reader fills them in: every knob with its value and the place it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rollproof.api.placeholder import Placeholder
from rollproof.api.remarks import attributes_of, lookup
from rollproof.api.template import Resource
from rollproof.core.errors import UsageError
from rollproof.core.knob_table import KNOB_BY_NAME, KNOBS, Knob
from rollproof.core.knob_values import get_knob, parse_knob, put_knob
from rollproof.core.settings import Settings

AWS_DEFAULT = "AWS default"
OUR_DEFAULT = "rollproof default"
_FIXED_AT_AWS = ("connect_timeout_s",)


@dataclass(frozen=True)
class KnobReading:
    """What templates say. `notes` are the things they ask for that a rehearsal leaves out, for people.

    `secret_names` are environment variables whose value no template holds: secrets, and what exists only after a
    deployment. The rehearsal must supply those that the server needs, REDIS_URL first of all.
    """

    settings: Settings
    notes: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Where the knobs of one resource are looked up, and how a finding there is called."""

    label: str  # "aws/ecs.yaml:Service", for sources
    where: str  # the same with a line, for errors
    logical_id: str
    properties: Mapping[str, Any]
    written: Mapping[str, Any] = field(default_factory=dict)  # the properties as written, unresolved
    attributes: Mapping[str, Any] = field(default_factory=dict)
    written_attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, resource: Resource) -> Facts:
        written = resource.entry.get("Properties") or {}
        return cls(
            label=f"{resource.template.name}:{resource.logical_id}",
            where=resource.where(),
            logical_id=resource.logical_id,
            properties=resource.properties,
            written=written,
            attributes=attributes_of(resource.type, resource.properties),
            written_attributes=attributes_of(resource.type, written),
        )

    def find(self, knob: Knob, container: int) -> tuple[str, Any, Any]:
        """(name of the property or attribute, its value or None, the same as written) for `knob`."""
        if knob.attribute:
            return knob.attribute, self.attributes.get(knob.attribute), self.written_attributes.get(knob.attribute)
        path = knob.cfn_property
        head, _, rest = path.partition(".")
        if head != "ContainerDefinitions":
            return path, lookup(self.properties, path), lookup(self.written, path)
        written = self.written.get(head)
        as_written = written[container] if isinstance(written, list) and container < len(written) else {}
        shown = f"{head}[{container}].{rest}"
        return shown, lookup(self.properties[head][container], rest), lookup(as_written, rest)


class Sheet:
    """Settings in the making. What nobody sets keeps AWS's default, or ours where AWS has none."""

    def __init__(self, parameters: Mapping[str, str] | None = None) -> None:
        """`parameters` are those that were given: a value that comes from one says so in its source."""
        self._parameters = parameters or {}
        self._settings = Settings()
        self._sources = {
            knob.path: AWS_DEFAULT if knob.resource or knob.name in _FIXED_AT_AWS else OUR_DEFAULT for knob in KNOBS
        }
        self.notes: list[str] = []
        self.secret_names: list[str] = []

    def set(self, name: str, raw: Any, source: str, *, where: str = "", written: Any = None) -> None:
        """Put a value as a template has it. Raises UsageError, with `where`, when the knob does not take it."""
        knob = KNOB_BY_NAME[name]
        try:
            if isinstance(raw, Placeholder) and not _takes_text(knob):
                raise UsageError(f"{name}: {raw} is known only after a deployment", hint=f"give it: --set {name}=...")
            self._settings = put_knob(self._settings, knob, parse_knob(knob, raw))
        except UsageError as error:
            raise UsageError(f"{where or source}: {error.message}", hint=error.hint) from error
        self._sources[knob.path] = source + self._given(written)

    def get(self, name: str) -> Any:
        return get_knob(self._settings, KNOB_BY_NAME[name])

    def set_environment(self, environment: Mapping[str, str], source: str) -> None:
        definition = replace(self._settings.task_definition, environment=environment)
        self._settings = replace(self._settings, task_definition=definition)
        for name in environment:
            self._sources[f"task_definition.environment.{name}"] = source

    def reading(self, notes: Sequence[str]) -> KnobReading:
        settings = replace(self._settings, sources=dict(self._sources))
        return KnobReading(settings, tuple(dict.fromkeys(notes)), tuple(self.secret_names))

    def _given(self, written: Any) -> str:
        """ " (parameter DesiredCount=4)" when the property is a Ref to a parameter that was given."""
        name = written.get("Ref") if isinstance(written, Mapping) and len(written) == 1 else None
        return f" (parameter {name}={self._parameters[name]})" if name is not None and name in self._parameters else ""


def _takes_text(knob: Knob) -> bool:
    return isinstance(get_knob(Settings(), knob), str) and not knob.choices
