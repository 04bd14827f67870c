"""Finds in a set of templates what makes up one rehearsed service: the service and all it leads to.

Service -> task definition -> serving container; service -> target group <- listener -> load balancer. The links are
followed as CloudFormation has them, never guessed from names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollproof.api.remarks import lookup, mappings
from rollproof.api.stacks import Stacks
from rollproof.api.template import Resource
from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.knob_table import LISTENER, LOAD_BALANCER, SERVICE, TARGET_GROUP, TASK_DEFINITION

LISTENER_RULE = "AWS::ElasticLoadBalancingV2::ListenerRule"


@dataclass(frozen=True)
class Parts:
    """What was found. Only the service and its task definition must be in the templates."""

    service: Resource
    task_definition: Resource
    container: int  # index into the task definition's ContainerDefinitions
    target_group: Resource | None = None
    listener: Resource | None = None
    load_balancer: Resource | None = None
    container_port: Any = None  # of the service's LoadBalancers entry
    has_load_balancer: bool = False
    notes: tuple[str, ...] = ()


def find_parts(stacks: Stacks, service_id: str = "") -> Parts:
    """The parts of the one service of `stacks`, or of the one whose logical id or name is `service_id`.

    Raises UsageError when there is none or more than one, or a link leads out of the templates where it must not;
    NotModelled for several target groups, a Network Load Balancer and the like.
    """
    service = _only_service(stacks, service_id)
    definition = stacks.follow(service.properties.get("TaskDefinition"))
    if definition is None or definition.type != TASK_DEFINITION:
        raise UsageError(
            f"{service.where('TaskDefinition')}: {service.properties.get('TaskDefinition')!r} is no task definition "
            f"of {stacks.names}",
            hint="give the template that defines it too",
        )
    entry = _load_balancer_entry(service)
    container = serving_container(
        definition.properties.get("ContainerDefinitions"), entry.get("ContainerName"), definition.where()
    )
    notes: list[str] = []
    group = _target_group(stacks, service, entry, notes)
    listener = _listener(stacks, group, notes) if group else None
    balancer = stacks.follow(listener.properties.get("LoadBalancerArn")) if listener else None
    balancer = balancer if balancer and balancer.type == LOAD_BALANCER else None
    if listener and balancer is None:
        notes.append(f"the load balancer of {listener.logical_id} is in no template: its attributes are AWS's defaults")
    if balancer and balancer.properties.get("Type", "application") != "application":
        raise NotModelled(
            f"{balancer.where('Type')}: only Application Load Balancers are rehearsed", hint="an NLB drains differently"
        )
    return Parts(
        service, definition, container, group, listener, balancer, entry.get("ContainerPort"), bool(entry), tuple(notes)
    )


def serving_container(containers: object, wanted: object, where: str) -> int:
    """Index of the container called `wanted`, else of the only essential one. Raises UsageError."""
    if not isinstance(containers, list) or not containers or not all(isinstance(item, Mapping) for item in containers):
        raise UsageError(f"{where}: a task definition needs ContainerDefinitions, a list of containers")
    names = [item.get("Name") for item in containers]
    if wanted is not None:
        if wanted not in names:
            listed = ", ".join(map(str, names))
            raise UsageError(f"{where}: the service's load balancer wants container {wanted!r}; there are {listed}")
        return names.index(wanted)
    essential = [index for index, item in enumerate(containers) if str(item.get("Essential", True)).lower() != "false"]
    with_ports = [index for index in essential if containers[index].get("PortMappings")] or essential
    if len(with_ports) != 1:
        raise UsageError(
            f"{where}: which container serves? {', '.join(map(str, names))}",
            hint="a service with a LoadBalancers entry names it",
        )
    return with_ports[0]


def _only_service(stacks: Stacks, service_id: str) -> Resource:
    services = stacks.of_type(SERVICE)
    if service_id:
        services = [
            service for service in services if service_id in (service.logical_id, service.properties.get("ServiceName"))
        ]
    if len(services) == 1:
        return services[0]
    which = f" {service_id!r}" if service_id else ""
    if not services:
        raise UsageError(
            f"no {SERVICE}{which} in {stacks.names}", hint="give the template that defines the service you roll out"
        )
    listed = ", ".join(f"{service.logical_id} ({service.template.name})" for service in services)
    raise UsageError(
        f"{len(services)} services to choose from: {listed}", hint='name one: service = "..." in rollproof.toml'
    )


def _load_balancer_entry(service: Resource) -> Mapping[str, Any]:
    entries = service.properties.get("LoadBalancers") or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise UsageError(f"{service.where('LoadBalancers')}: must be a list of mappings")
    if len(entries) > 1:
        raise NotModelled(
            f"{service.where('LoadBalancers')}: {len(entries)} target groups; a rehearsal has one",
            hint="rehearse the one that MCP clients reach",
        )
    return entries[0] if entries else {}


def _target_group(stacks: Stacks, service: Resource, entry: Mapping[str, Any], notes: list[str]) -> Resource | None:
    if not entry:
        notes.append(f"{service.logical_id} has no load balancer: no draining, no stickiness")
        return None
    arn = entry.get("TargetGroupArn")
    group = stacks.follow(arn)
    if group is not None and group.type == TARGET_GROUP:
        return group
    if stacks.of_type(TARGET_GROUP):
        listed = ", ".join(group.logical_id for group in stacks.of_type(TARGET_GROUP))
        raise UsageError(
            f"{service.where('LoadBalancers', 0, 'TargetGroupArn')}: {arn!r} is no target group of {stacks.names}",
            hint=f"they define {listed}",
        )
    notes.append(
        f"target group {arn} is in no template: its settings, health check path included, are AWS's defaults; "
        "give its template too, or set them with --set"
    )
    return None


def _listener(stacks: Stacks, group: Resource, notes: list[str]) -> Resource | None:
    listeners: dict[tuple[str, str], Resource] = {}
    for resource in stacks.of_type(LISTENER, LISTENER_RULE):
        if not _forwards(stacks, resource, group, notes):
            continue
        is_rule = resource.type == LISTENER_RULE
        listener = stacks.follow(resource.properties.get("ListenerArn")) if is_rule else resource
        if listener is not None and listener.type == LISTENER:
            listeners[(listener.template.name, listener.logical_id)] = listener
    if not listeners:
        notes.append(f"no listener forwards to {group.logical_id}: port and load balancer are AWS's defaults")
        return None
    # Where both are open, clients that carry a session use HTTPS.
    ordered = sorted(listeners.values(), key=lambda listener: listener.properties.get("Protocol") != "HTTPS")
    if len(ordered) > 1:
        others = ", ".join(listener.logical_id for listener in ordered[1:])
        notes.append(f"clients come through {ordered[0].logical_id}; {others} forwards to {group.logical_id} too")
    return ordered[0]


def _forwards(stacks: Stacks, resource: Resource, group: Resource, notes: list[str]) -> bool:
    """Whether a listener or rule sends requests to `group`."""
    actions = mappings(resource.properties.get("DefaultActions" if resource.type == LISTENER else "Actions"))
    targets = [target for action in actions for target in _targets(action)]
    forwards = any(stacks.follow(target) == group for target in targets)
    if forwards and len(targets) > 1:
        raise NotModelled(f"{resource.where()}: weighted target groups are not rehearsed", hint="forward to one group")
    if forwards:
        others = [str(action.get("Type")) for action in actions if action.get("Type") != "forward"]
        notes += [f"{resource.logical_id}: the action {other} is not rehearsed" for other in others]
    return forwards


def _targets(action: Mapping[str, Any]) -> Iterator[Any]:
    """Target groups of a forward action; its short and its long form may both be there and name the same one."""
    groups = mappings(lookup(action, "ForwardConfig.TargetGroups"))
    if groups:
        yield from (group.get("TargetGroupArn") for group in groups)
    elif "TargetGroupArn" in action:
        yield action["TargetGroupArn"]
