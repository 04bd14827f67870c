"""What a template asks of AWS that a rehearsal does not play: said aloud, never ignored.

Three answers. Where the rehearsal would show something else than AWS, it is refused (NotModelled). Where
something is only left out, there is a note. What has no influence on sessions (tags, logs, roles) is known to have
none and stands in `HARMLESS`; a property that nobody has thought of yet gets a note by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollproof.api.template import Resource
from rollproof.core.errors import NotModelled
from rollproof.core.knob_table import KNOBS, LISTENER, LOAD_BALANCER, SERVICE, TARGET_GROUP, TASK_DEFINITION

CONTAINER = "container"
ATTRIBUTE_LISTS = {
    TARGET_GROUP: "TargetGroupAttributes",
    LOAD_BALANCER: "LoadBalancerAttributes",
    LISTENER: "ListenerAttributes",
}


@dataclass(frozen=True)
class Rule:
    """A property, or attribute, whose value matters but is not played where `applies`."""

    resource: str
    name: str  # dotted property, or attribute key
    says: str
    applies: Callable[[Any], bool] = bool
    refuses: bool = False


def _is_not(*expected: object) -> Callable[[Any], bool]:
    return lambda value: str(value) not in map(str, expected)


def _is_on(value: Any) -> bool:
    return str(value).lower() not in ("false", "off", "0", "")


_DC = "DeploymentConfiguration"
_ROLLING_ONLY = "only rolling updates by ECS itself are rehearsed"

RULES = (
    Rule(SERVICE, "DeploymentController.Type", _ROLLING_ONLY, _is_not("ECS"), refuses=True),
    Rule(SERVICE, f"{_DC}.Strategy", _ROLLING_ONLY, _is_not("ROLLING"), refuses=True),
    Rule(SERVICE, "SchedulingStrategy", "only REPLICA services are rehearsed", _is_not("REPLICA"), refuses=True),
    Rule(SERVICE, "LaunchType", "tasks behave as on Fargate", _is_not("FARGATE")),
    Rule(SERVICE, f"{_DC}.Alarms", "deployment alarms are not rehearsed",
         lambda alarms: _is_on(alarms.get("Enable", True)) if isinstance(alarms, Mapping) else True),
    Rule(SERVICE, f"{_DC}.LifecycleHooks", "lifecycle hooks are not called"),
    Rule(SERVICE, f"{_DC}.EarlySuccessCriteria", "a deployment completes only when the old tasks are gone"),
    Rule(SERVICE, f"{_DC}.BakeTimeInMinutes", "there is no bake time"),
    Rule(SERVICE, f"{_DC}.CanaryConfiguration", _ROLLING_ONLY),
    Rule(SERVICE, f"{_DC}.LinearConfiguration", _ROLLING_ONLY),
    Rule(SERVICE, "CapacityProviderStrategy", "capacity is always there; Spot interruptions do not come by themselves"),
    Rule(SERVICE, "PlacementConstraints", "placement is not rehearsed"),
    Rule(SERVICE, "PlacementStrategies", "placement is not rehearsed"),
    Rule(SERVICE, "ServiceRegistries", "service discovery is not rehearsed"),
    Rule(SERVICE, "ServiceConnectConfiguration", "Service Connect and its proxy are not rehearsed"),
    Rule(SERVICE, "VpcLatticeConfigurations", "VPC Lattice is not rehearsed"),
    Rule(SERVICE, "VolumeConfigurations", "volumes are not attached"),
    Rule(TARGET_GROUP, "TargetType", "only targets of type ip are rehearsed", _is_not("ip"), refuses=True),
    Rule(TARGET_GROUP, "Protocol", "the target group speaks plain HTTP", _is_not("HTTP")),
    Rule(TARGET_GROUP, "ProtocolVersion", "targets get HTTP/1.1", _is_not("HTTP1")),
    Rule(TARGET_GROUP, "HealthCheckEnabled", "health checks cannot be off for targets of type ip",
         _is_not("True", "true"), refuses=True),
    Rule(TARGET_GROUP, "HealthCheckPort", "health checks go to the traffic port", _is_not("traffic-port")),
    Rule(TARGET_GROUP, "HealthCheckProtocol", "health checks use HTTP", _is_not("HTTP")),
    Rule(TARGET_GROUP, "Matcher.GrpcCode", "gRPC is not rehearsed", refuses=True),
    Rule(TARGET_GROUP, "load_balancing.algorithm.anomaly_mitigation", "anomaly mitigation is not rehearsed", _is_on),
    Rule(LISTENER, "Protocol", "TLS is not rehearsed: the balancer speaks plain HTTP on loopback", _is_not("HTTP")),
    Rule(LISTENER, "MutualAuthentication", "client certificates are not asked for"),
    Rule(LOAD_BALANCER, "routing.http.drop_invalid_header_fields.enabled", "header names are not filtered", _is_on),
    Rule(LOAD_BALANCER, "routing.http.desync_mitigation_mode", "requests are treated as in mode defensive",
         _is_not("defensive")),
    Rule(LOAD_BALANCER, "routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "TLS headers are not added",
         _is_on),
    Rule(TASK_DEFINITION, "RequiresCompatibilities", "tasks behave as on Fargate",
         lambda value: "FARGATE" not in value),
    Rule(TASK_DEFINITION, "Volumes", "volumes are not mounted"),
    Rule(TASK_DEFINITION, "ProxyConfiguration", "the proxy is not started"),
    Rule(TASK_DEFINITION, "EnableFaultInjection", "the agent's fault injection is not offered", _is_on),
    Rule(CONTAINER, "EntryPoint", "the entry point is not run by itself; give the whole command to the rehearsal"),
    Rule(CONTAINER, "EnvironmentFiles", "environment files are not read"),
    Rule(CONTAINER, "DependsOn", "the containers it waits for are not started"),
    Rule(CONTAINER, "RestartPolicy", "a container that exits is not restarted in place",
         lambda policy: _is_on(policy.get("Enabled", False)) if isinstance(policy, Mapping) else True),
    Rule(CONTAINER, "WorkingDirectory", "the rehearsal gives each task a directory of its own"),
    Rule(CONTAINER, "StartTimeout", "the start timeout is not rehearsed"),
    Rule(CONTAINER, "DisableNetworking", "a container without network cannot serve", _is_on, refuses=True),
)  # fmt: skip

HARMLESS: Mapping[str, frozenset[str]] = {
    SERVICE: frozenset(
        {"TaskDefinition", "LoadBalancers", "NetworkConfiguration", "Tags", "PropagateTags", "EnableECSManagedTags",
         "EnableExecuteCommand", "PlatformVersion", "Role", "Monitoring", "ForceNewDeployment"}
    ),
    TASK_DEFINITION: frozenset(
        {"ContainerDefinitions", "NetworkMode", "ExecutionRoleArn", "TaskRoleArn", "RuntimePlatform", "Tags",
         "EphemeralStorage", "IpcMode", "PidMode", "PlacementConstraints"}
    ),
    CONTAINER: frozenset(
        {"Name", "Essential", "Environment", "Secrets", "PortMappings", "LogConfiguration", "User", "MountPoints",
         "ReadonlyRootFilesystem", "Cpu", "Memory", "MemoryReservation", "LinuxParameters", "Ulimits", "VolumesFrom",
         "DockerLabels", "Hostname", "Interactive", "PseudoTerminal", "Privileged", "RepositoryCredentials",
         "VersionConsistency", "SystemControls", "ResourceRequirements", "DockerSecurityOptions", "CredentialSpecs",
         "FirelensConfiguration", "DnsServers", "DnsSearchDomains", "ExtraHosts", "Links"}
    ),
    TARGET_GROUP: frozenset(
        {"TargetGroupAttributes", "VpcId", "Tags", "IpAddressType", "Targets", "stickiness.app_cookie.duration_seconds",
         "target_group_health.dns_failover.minimum_healthy_targets.count",
         "target_group_health.dns_failover.minimum_healthy_targets.percentage"}
    ),
    LISTENER: frozenset(
        {"ListenerAttributes", "LoadBalancerArn", "DefaultActions", "Certificates", "SslPolicy", "AlpnPolicy", "Tags"}
    ),
    LOAD_BALANCER: frozenset(
        {"LoadBalancerAttributes", "Type", "Scheme", "Subnets", "SubnetMappings", "SecurityGroups", "IpAddressType",
         "Tags", "MinimumLoadBalancerCapacity", "deletion_protection.enabled", "load_balancing.cross_zone.enabled",
         "routing.http2.enabled", "waf.fail_open.enabled", "zonal_shift.config.enabled",
         "ipv6.deny_all_igw_traffic"}
    ),
}  # fmt: skip

_HARMLESS_PREFIXES = ("access_logs.", "connection_logs.", "health_check_logs.", "routing.http.response.")


BYSTANDERS = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "scaling is not rehearsed: the desired count stays",
    "AWS::CodeDeploy::DeploymentGroup": _ROLLING_ONLY,
    "AWS::ECS::TaskSet": _ROLLING_ONLY,
    "AWS::WAFv2::WebACLAssociation": "the web ACL is not applied",
}
"""Resources that no part of a rehearsed service leads to, but that act on it."""


def bystander_remarks(resource: Resource) -> Iterator[str]:
    """A note on a resource that acts on a service from outside."""
    if resource.type in BYSTANDERS:
        yield f"{resource.logical_id} ({resource.type}): {BYSTANDERS[resource.type]}"


def remarks(resource: Resource) -> Iterator[str]:
    """Notes on one resource. Raises NotModelled, with file and line, for what cannot be rehearsed."""
    properties = dict(resource.properties)
    attributes = attributes_of(resource.type, properties)
    yield from _remarks(resource.type, resource.logical_id, properties, attributes, resource.where())


def container_remarks(container: Mapping[str, Any], where: str) -> Iterator[str]:
    """Notes on the container that serves."""
    yield from _remarks(CONTAINER, str(container.get("Name")), container, {}, where)


def attributes_of(resource_type: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The key-value attributes of a target group, load balancer or listener."""
    listed = mappings(properties.get(ATTRIBUTE_LISTS.get(resource_type, "")))
    return {str(item.get("Key")): item.get("Value") for item in listed}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; none where a template has something else in its place."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def lookup(properties: Mapping[str, Any], dotted: str) -> Any:
    """The value at "DeploymentConfiguration.MaximumPercent", None where there is none."""
    value: Any = properties
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _remarks(
    kind: str, name: str, properties: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> Iterator[str]:
    known: set[str] = set(HARMLESS[kind])
    for rule in RULES:
        if rule.resource != kind:
            continue
        known |= {rule.name, rule.name.partition(".")[0]}
        value = attributes.get(rule.name) if rule.name in attributes else lookup(properties, rule.name)
        if value is None or not rule.applies(value):
            continue
        shown = value if isinstance(value, str | int | float) else "set"
        if rule.refuses:
            raise NotModelled(f"{where}.{rule.name} is {shown}: {rule.says}")
        yield f"{name}.{rule.name} is {shown}: {rule.says}"
    known |= _knob_names(kind)
    for unheard in [*properties, *attributes]:
        if unheard not in known and not unheard.startswith(_HARMLESS_PREFIXES):
            yield f"{name}.{unheard} is not rehearsed"


def _knob_names(kind: str) -> set[str]:
    """First parts of the properties, and the attribute keys, that knobs are read from."""
    resource = TASK_DEFINITION if kind == CONTAINER else kind
    names = {knob.attribute for knob in KNOBS if knob.resource == resource}
    for knob in KNOBS:
        if knob.resource == resource:
            head, _, rest = knob.cfn_property.partition(".")
            names.add(rest.partition(".")[0] if head == "ContainerDefinitions" and kind == CONTAINER else head)
    return names
