"""Reads the knobs of a rehearsal from the templates that deploy, or from a task definition.

One table says which property each knob is read from (`rollproof.core.knob_table`); here the properties are found
and the few that need more than a look-up are worked out. `Settings.sources` says for every knob, under the path of
its field, where its value came from: "aws/ecs.yaml:Service.DesiredCount", or "AWS default" where the template is
silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollproof.api.container import load_task_definition, read_container
from rollproof.api.overrides import SettingRow, apply_overrides, apply_timing_overrides, setting_rows, split_overrides
from rollproof.api.parts import Parts, find_parts, serving_container
from rollproof.api.placeholder import Placeholder
from rollproof.api.remarks import bystander_remarks, lookup, remarks
from rollproof.api.sheet import AWS_DEFAULT, OUR_DEFAULT, Facts, KnobReading, Sheet
from rollproof.api.source import display_name
from rollproof.api.stacks import Stacks, resolve_stacks
from rollproof.api.template import DEFAULT_ACCOUNT, DEFAULT_REGION, Resource
from rollproof.core.knob_table import (
    KNOBS,
    LISTENER,
    LOAD_BALANCER,
    SERVICE,
    TARGET_GROUP,
    TASK_DEFINITION,
    Knob,
)
from rollproof.core.settings import StickinessType

__all__ = [
    "KNOBS",
    "Knob",
    "KnobReading",
    "SettingRow",
    "apply_overrides",
    "apply_timing_overrides",
    "setting_rows",
    "settings_from_task_definition",
    "settings_from_templates",
    "split_overrides",
]

_DEFAULT_UNLIKE_SETTINGS = {"desired_count": 1}  # CFN AWS::ECS::Service: 1 for a new service that gives none
_NAME_KNOBS = ("service_name", "target_group_name", "load_balancer_name", "family")
_APP_COOKIE_DURATION = "stickiness.app_cookie.duration_seconds"


def settings_from_templates(
    paths: Sequence[Path],
    parameters: Mapping[str, str] | None = None,
    *,
    imports: Mapping[str, str] | None = None,
    service: str = "",
) -> KnobReading:
    """Settings of the one service that the templates at `paths` deploy, or of the one called `service`.

    `parameters` are template parameters, and pseudo parameters such as AWS::Region; `imports` are exports of stacks
    whose templates are not at hand. Raises UsageError, with file and line, for whatever keeps the templates from
    being read, and NotModelled for what a rehearsal would get wrong. Ranges are left to `validate`.
    """
    given = parameters or {}
    stacks = resolve_stacks(paths, given, imports)
    parts = find_parts(stacks, service)
    sheet = Sheet(given)
    sheet.set("region", given.get("AWS::Region", DEFAULT_REGION), "AWS::Region")
    sheet.set("account", given.get("AWS::AccountId", DEFAULT_ACCOUNT), "AWS::AccountId")
    _read_parts(sheet, parts)
    _read_cluster(sheet, stacks, parts.service)
    _read_zones(sheet, stacks, parts.service)
    for resource in (parts.service, parts.task_definition, parts.target_group, parts.listener, parts.load_balancer):
        sheet.notes += remarks(resource) if resource else ()
    for stack in stacks.stacks:
        for bystander in stack.resources.values():
            sheet.notes += bystander_remarks(bystander)
    ruled = [stack.template.name for stack in stacks.stacks if stack.template.section("Rules")]
    return sheet.reading([*parts.notes, *sheet.notes, *(f"{name}: Rules are not checked" for name in ruled)])


def settings_from_task_definition(path: Path) -> KnobReading:
    """Settings of a task definition alone: JSON as `aws ecs describe-task-definition` prints it, or as
    `register-task-definition` takes it. Service, target group and load balancer are AWS's defaults.

    Raises UsageError when the file is none.
    """
    name = display_name(path)
    definition = load_task_definition(path, name)
    container = serving_container(definition["ContainerDefinitions"], None, name)
    facts = Facts(name, name, path.stem, definition)
    sheet = Sheet()
    read_container(sheet, facts, container)
    _read_table(sheet, {TASK_DEFINITION: facts}, container)
    sheet.set("revision", definition.get("Revision", 1), f"{name}.Revision")
    sheet.set("target_group_port", sheet.get("container_port"), f"{name}: the container's port")
    alone = (
        f"{name} is a task definition alone: service, target group and load balancer are AWS's defaults, "
        "health check path / included; set others with --set"
    )
    return sheet.reading([alone, *sheet.notes])


def _read_parts(sheet: Sheet, parts: Parts) -> None:
    """All that stands in the resources themselves."""
    found = {
        SERVICE: parts.service,
        TASK_DEFINITION: parts.task_definition,
        TARGET_GROUP: parts.target_group,
        LISTENER: parts.listener,
        LOAD_BALANCER: parts.load_balancer,
    }
    facts = {kind: Facts.of(resource) for kind, resource in found.items() if resource is not None}
    sheet.set("has_load_balancer", parts.has_load_balancer, f"{facts[SERVICE].label}.LoadBalancers")
    read_container(sheet, facts[TASK_DEFINITION], parts.container, parts.container_port)
    _read_table(sheet, facts, parts.container)
    if parts.has_load_balancer and parts.target_group is None:
        sheet.set("target_group_port", sheet.get("container_port"), f"{facts[SERVICE].label}.LoadBalancers")


def _read_table(sheet: Sheet, facts: Mapping[str, Facts], container: int) -> None:
    """Every knob that the table can look up in `facts`, by resource type."""
    for knob in KNOBS:
        found = facts.get(knob.resource)
        if found is None or knob.name == "cluster":
            continue
        shown, raw, written = found.find(knob, container)
        if knob.name == "stickiness_duration_s" and sheet.get("stickiness_type") is StickinessType.APP_COOKIE:
            shown, raw, written = _APP_COOKIE_DURATION, found.attributes.get(_APP_COOKIE_DURATION), None
        source, where = f"{found.label}.{shown}", f"{found.where}.{shown}"
        if raw is not None:
            sheet.set(knob.name, _in_units(knob, raw), source, where=where, written=written)
        elif knob.name in _NAME_KNOBS:
            sheet.set(knob.name, found.logical_id, f"{found.label} (its logical id; CloudFormation makes up the name)")
        elif knob.name in _DEFAULT_UNLIKE_SETTINGS:
            sheet.set(knob.name, _DEFAULT_UNLIKE_SETTINGS[knob.name], AWS_DEFAULT)
        elif knob.name in ("cpu", "memory_mib"):
            sheet.notes.append(f"{source} is missing, which Fargate needs: {sheet.get(knob.name)} is assumed")


def _in_units(knob: Knob, raw: Any) -> Any:
    """A task's size may be written "1 vCPU" and "2 GB". API-ECS TaskDefinition."""
    unit = {"cpu": "vcpu", "memory_mib": "gb"}.get(knob.name)
    text = str(raw).lower().replace(" ", "")
    if unit is None or not text.endswith(unit):
        return raw
    try:
        return float(text.removesuffix(unit)) * 1024
    except ValueError:
        return raw


def _read_cluster(sheet: Sheet, stacks: Stacks, service: Resource) -> None:
    """The name of the cluster, from its resource, its name or its ARN."""
    raw = service.properties.get("Cluster")
    source = f"{Facts.of(service).label}.Cluster"
    cluster = stacks.follow(raw)
    if cluster is not None:
        sheet.set("cluster", cluster.properties.get("ClusterName", cluster.logical_id), source)
    elif raw is None:
        sheet.set("cluster", "default", AWS_DEFAULT)
    else:
        sheet.set("cluster", str(raw).rpartition("/")[2], source)


def _read_zones(sheet: Sheet, stacks: Stacks, service: Resource) -> None:
    """The zones of the service's subnets; two of the region where they cannot be told."""
    subnets = lookup(service.properties, "NetworkConfiguration.AwsvpcConfiguration.Subnets")
    found = [stacks.follow(subnet) for subnet in subnets] if isinstance(subnets, list) else []
    zones = [subnet.properties.get("AvailabilityZone") if subnet else None for subnet in found]
    known = [zone for zone in zones if isinstance(zone, str) and not isinstance(zone, Placeholder)]
    if zones and len(known) == len(zones):
        source = f"{Facts.of(service).label}.NetworkConfiguration.AwsvpcConfiguration.Subnets"
        sheet.set("availability_zones", list(dict.fromkeys(known)), source)
    else:
        region = sheet.get("region")
        sheet.set("availability_zones", [f"{region}a", f"{region}b"], OUR_DEFAULT)
