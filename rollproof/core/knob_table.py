"""The table of knobs: every setting a rehearsal can be given, its name, its meaning, AWS's range for it.

A knob has one short name that is unique among all (`deregistration_delay_s`), the path of its field in
`Settings`, and, where CloudFormation has it, the resource type and the property (or attribute key) it is read
from. Template reader, `--set`, rollproof.toml, validation and the printed list all go by this table, so a
knob that is missing here exists nowhere.

Ranges carry their source (keys as in docs/fidelity.md). No range means that AWS publishes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rollproof.core.settings import Algorithm, Routing, StickinessType, ThresholdType

SERVICE = "AWS::ECS::Service"
TASK_DEFINITION = "AWS::ECS::TaskDefinition"
TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"
LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"


class Kind(StrEnum):
    """How a knob's text is read."""

    INTEGER = "integer"
    SECONDS = "seconds"
    BOOLEAN = "true or false"
    TEXT = "text"
    CHOICE = "one of"
    LIST = "list"


@dataclass(frozen=True)
class Knob:
    """One setting. `low` and `high` are inclusive; `or_zero` allows 0 beside the range."""

    name: str
    path: str  # of its field in Settings, dotted
    kind: Kind
    doc: str
    low: float | None = None
    high: float | None = None
    or_zero: bool = False
    choices: tuple[str, ...] = ()
    source: str = ""  # of the range
    resource: str = ""  # CloudFormation type it is read from
    cfn_property: str = ""  # dotted property of that resource; "ContainerDefinitions." stands for the serving one
    attribute: str = ""  # or the key in the resource's list of attributes

    @property
    def aws_names(self) -> tuple[str, ...]:
        """How AWS spells it: the attribute key, or the property in full and its last part."""
        if self.attribute:
            return (self.attribute,)
        if not self.cfn_property:
            return ()
        return tuple(dict.fromkeys((self.cfn_property, self.cfn_property.rpartition(".")[2])))

    @property
    def allowed(self) -> str:
        """What it accepts, for people: "0..3600 s", "one of round_robin, weighted_random", "true or false"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        unit = " s" if self.kind is Kind.SECONDS else ""
        if self.low is None and self.high is None:
            return str(self.kind)
        if self.high is None:
            return f"{self.low:.10g} or more{unit}"
        return f"{'0 or ' if self.or_zero else ''}{self.low:.10g}..{self.high:.10g}{unit}"


_INT, _SECONDS, _BOOL, _TEXT, _LIST = Kind.INTEGER, Kind.SECONDS, Kind.BOOLEAN, Kind.TEXT, Kind.LIST
_DC = "DeploymentConfiguration"
_BREAKER = f"{_DC}.DeploymentCircuitBreaker"
_CD = "ContainerDefinitions"
_S = "service"
_TD = "task_definition"
_TG = "target_group"
_LB = "load_balancer"

_SERVICE_KNOBS = (
    Knob("service_name", f"{_S}.name", _TEXT, "the service", resource=SERVICE, cfn_property="ServiceName"),
    Knob("cluster", f"{_S}.cluster", _TEXT, "the cluster it runs in", resource=SERVICE, cfn_property="Cluster"),
    Knob("region", f"{_S}.region", _TEXT, "region in ARNs and zone names"),
    Knob("account", f"{_S}.account", _TEXT, "account in ARNs"),
    Knob("availability_zones", f"{_S}.availability_zones", _LIST, "zones that tasks are spread over"),
    Knob("desired_count", f"{_S}.desired_count", _INT, "tasks that should run", 0, None,
         source="API-ECS CreateServiceRequest", resource=SERVICE, cfn_property="DesiredCount"),
    Knob("minimum_healthy_percent", f"{_S}.minimum_healthy_percent", _INT,
         "floor of healthy tasks in a deployment, percent of the desired count, rounded up", 0, 100,
         source="API-ECS DeploymentConfiguration", resource=SERVICE, cfn_property=f"{_DC}.MinimumHealthyPercent"),
    Knob("maximum_percent", f"{_S}.maximum_percent", _INT,
         "ceiling of tasks in a deployment, percent of the desired count, rounded down", 0, None,
         source="API-ECS DeploymentConfiguration", resource=SERVICE, cfn_property=f"{_DC}.MaximumPercent"),
    Knob("health_check_grace_period_s", f"{_S}.health_check_grace_period_s", _SECONDS,
         "ECS overlooks failed health checks of a task this young", 0, 2_147_483_647,
         source="API-ECS CreateServiceRequest", resource=SERVICE, cfn_property="HealthCheckGracePeriodSeconds"),
    Knob("circuit_breaker_enable", f"{_S}.circuit_breaker.enable", _BOOL, "give up a deployment whose tasks fail",
         resource=SERVICE, cfn_property=f"{_BREAKER}.Enable"),
    Knob("circuit_breaker_rollback", f"{_S}.circuit_breaker.rollback", _BOOL, "then return to the last completed one",
         resource=SERVICE, cfn_property=f"{_BREAKER}.Rollback"),
    Knob("circuit_breaker_threshold_type", f"{_S}.circuit_breaker.threshold_type", Kind.CHOICE,
         "how the threshold value is read", choices=tuple(ThresholdType), source="API-ECS 1.44.5",
         resource=SERVICE, cfn_property=f"{_BREAKER}.ThresholdConfiguration.Type"),
    Knob("circuit_breaker_threshold_value", f"{_S}.circuit_breaker.threshold_value", _INT,
         "failures (COUNT) or percent of the desired count that trip it", 1, None, source="API-ECS 1.44.5",
         resource=SERVICE, cfn_property=f"{_BREAKER}.ThresholdConfiguration.Value"),
    Knob("circuit_breaker_reset_on_healthy_task", f"{_S}.circuit_breaker.reset_on_healthy_task", _BOOL,
         "a healthy task sets the count of failures to zero", resource=SERVICE,
         cfn_property=f"{_BREAKER}.ResetOnHealthyTask"),
    Knob("availability_zone_rebalancing", f"{_S}.availability_zone_rebalancing", Kind.CHOICE,
         "a steady service moves tasks to thin zones by itself", choices=("ENABLED", "DISABLED"),
         source="API-ECS CreateServiceRequest", resource=SERVICE, cfn_property="AvailabilityZoneRebalancing"),
    Knob("has_load_balancer", f"{_S}.has_load_balancer", _BOOL, "tasks are registered in a target group"),
)  # fmt: skip

_TASK_KNOBS = (
    Knob("family", f"{_TD}.family", _TEXT, "family of the task definition", resource=TASK_DEFINITION,
         cfn_property="Family"),
    Knob("revision", f"{_TD}.revision", _INT, "its revision at the start", 1, None, source="API-ECS TaskDefinition"),
    Knob("container_name", f"{_TD}.container", _TEXT, "the container that serves"),
    Knob("image", f"{_TD}.image", _TEXT, "its image, as ECS records it", resource=TASK_DEFINITION,
         cfn_property=f"{_CD}.Image"),
    Knob("command", f"{_TD}.command", _LIST, "overrides the image's command", resource=TASK_DEFINITION,
         cfn_property=f"{_CD}.Command"),
    Knob("container_port", f"{_TD}.container_port", _INT, "port it listens on", 1, 65_535,
         source="API-ECS PortMapping"),
    Knob("cpu", f"{_TD}.cpu", _INT, "CPU units of the task, 1024 are one vCPU", 1, None,
         source="API-ECS TaskDefinition", resource=TASK_DEFINITION, cfn_property="Cpu"),
    Knob("memory_mib", f"{_TD}.memory_mib", _INT, "memory of the task in MiB", 1, None,
         source="API-ECS TaskDefinition", resource=TASK_DEFINITION, cfn_property="Memory"),
    Knob("stop_timeout_s", f"{_TD}.stop_timeout_s", _SECONDS, "from SIGTERM to SIGKILL", 2, 120,
         source="API-ECS ContainerDefinition, Fargate", resource=TASK_DEFINITION, cfn_property=f"{_CD}.StopTimeout"),
    Knob("stop_signal", f"{_TD}.stop_signal", _TEXT, "the image's STOPSIGNAL (WN-2025-12)"),
    Knob("container_health_check_command", f"{_TD}.health_check.command", _LIST,
         'the container\'s own check: ["CMD", "prog", "arg"]', resource=TASK_DEFINITION,
         cfn_property=f"{_CD}.HealthCheck.Command"),
    Knob("container_health_check_interval_s", f"{_TD}.health_check.interval_s", _SECONDS, "between its runs", 5, 300,
         source="API-ECS HealthCheck", resource=TASK_DEFINITION, cfn_property=f"{_CD}.HealthCheck.Interval"),
    Knob("container_health_check_timeout_s", f"{_TD}.health_check.timeout_s", _SECONDS, "a run may last", 2, 60,
         source="API-ECS HealthCheck", resource=TASK_DEFINITION, cfn_property=f"{_CD}.HealthCheck.Timeout"),
    Knob("container_health_check_retries", f"{_TD}.health_check.retries", _INT, "failed runs in a row to UNHEALTHY",
         1, 10, source="API-ECS HealthCheck", resource=TASK_DEFINITION, cfn_property=f"{_CD}.HealthCheck.Retries"),
    Knob("container_health_check_start_period_s", f"{_TD}.health_check.start_period_s", _SECONDS,
         "failures do not count this early", 0, 300, source="API-ECS HealthCheck", resource=TASK_DEFINITION,
         cfn_property=f"{_CD}.HealthCheck.StartPeriod"),
)  # fmt: skip

_TARGET_GROUP_KNOBS = (
    Knob("target_group_name", f"{_TG}.name", _TEXT, "the target group", resource=TARGET_GROUP, cfn_property="Name"),
    Knob("target_group_port", f"{_TG}.port", _INT, "its default port", 1, 65_535,
         source="API-ELB CreateTargetGroupInput", resource=TARGET_GROUP, cfn_property="Port"),
    Knob("deregistration_delay_s", f"{_TG}.deregistration_delay_s", _SECONDS,
         "a leaving target drains this long before ECS sends SIGTERM", 0, 3600,
         source="ALB-UG/load-balancer-target-groups", resource=TARGET_GROUP,
         attribute="deregistration_delay.timeout_seconds"),
    Knob("stickiness_enabled", f"{_TG}.stickiness.enabled", _BOOL, "cookies bind a client to a target",
         resource=TARGET_GROUP, attribute="stickiness.enabled"),
    Knob("stickiness_type", f"{_TG}.stickiness.type", Kind.CHOICE, "whose cookie", choices=tuple(StickinessType),
         source="API-ELB TargetGroupAttribute", resource=TARGET_GROUP, attribute="stickiness.type"),
    Knob("stickiness_duration_s", f"{_TG}.stickiness.duration_s", _SECONDS, "a cookie binds this long", 1, 604_800,
         source="API-ELB TargetGroupAttribute", resource=TARGET_GROUP,
         attribute="stickiness.lb_cookie.duration_seconds"),
    Knob("stickiness_cookie_name", f"{_TG}.stickiness.cookie_name", _TEXT, "the application's cookie, for app_cookie",
         resource=TARGET_GROUP, attribute="stickiness.app_cookie.cookie_name"),
    Knob("health_check_path", f"{_TG}.health_check.path", _TEXT, "path the load balancer asks for",
         resource=TARGET_GROUP, cfn_property="HealthCheckPath"),
    Knob("health_check_interval_s", f"{_TG}.health_check.interval_s", _SECONDS, "between its checks", 5, 300,
         source="API-ELB CreateTargetGroupInput", resource=TARGET_GROUP, cfn_property="HealthCheckIntervalSeconds"),
    Knob("health_check_timeout_s", f"{_TG}.health_check.timeout_s", _SECONDS, "an answer may take", 2, 120,
         source="API-ELB CreateTargetGroupInput", resource=TARGET_GROUP, cfn_property="HealthCheckTimeoutSeconds"),
    Knob("healthy_threshold", f"{_TG}.health_check.healthy_threshold", _INT,
         "passed checks in a row that make an unhealthy target healthy", 2, 10,
         source="API-ELB CreateTargetGroupInput", resource=TARGET_GROUP, cfn_property="HealthyThresholdCount"),
    Knob("unhealthy_threshold", f"{_TG}.health_check.unhealthy_threshold", _INT,
         "failed checks in a row that make a target unhealthy", 2, 10, source="API-ELB CreateTargetGroupInput",
         resource=TARGET_GROUP, cfn_property="UnhealthyThresholdCount"),
    Knob("health_check_matcher", f"{_TG}.health_check.matcher", _TEXT, "statuses that pass a check",
         resource=TARGET_GROUP, cfn_property="Matcher.HttpCode"),
    Knob("algorithm", f"{_TG}.algorithm", Kind.CHOICE, "how a target is chosen without a cookie",
         choices=tuple(Algorithm), source="API-ELB TargetGroupAttribute", resource=TARGET_GROUP,
         attribute="load_balancing.algorithm.type"),
    Knob("slow_start_s", f"{_TG}.slow_start_s", _SECONDS, "a new target's share grows this long", 30, 900, or_zero=True,
         source="API-ELB TargetGroupAttribute", resource=TARGET_GROUP, attribute="slow_start.duration_seconds"),
    Knob("cross_zone", f"{_TG}.cross_zone", Kind.CHOICE, "nodes use the targets of all zones, or of their own alone",
         choices=("use_load_balancer_configuration", "true", "false"), source="ALB-UG/load-balancer-target-groups",
         resource=TARGET_GROUP, attribute="load_balancing.cross_zone.enabled"),
    Knob("minimum_healthy_targets", f"{_TG}.minimum_healthy_targets", _INT,
         "with fewer healthy targets all are used (fail-open)", 1, None, source="API-ELB TargetGroupAttribute",
         resource=TARGET_GROUP, attribute="target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"),
    Knob("minimum_healthy_targets_percent", f"{_TG}.minimum_healthy_targets_percent", _INT,
         "the same as a percentage of the registered targets; 0 is off", 1, 100, or_zero=True,
         source="API-ELB TargetGroupAttribute", resource=TARGET_GROUP,
         attribute="target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"),
)  # fmt: skip

_LOAD_BALANCER_KNOBS = (
    Knob("load_balancer_name", f"{_LB}.name", _TEXT, "the load balancer", resource=LOAD_BALANCER, cfn_property="Name"),
    Knob("listener_port", f"{_LB}.listener_port", _INT, "port that clients reach", 1, 65_535,
         source="API-ELB CreateListenerInput", resource=LISTENER, cfn_property="Port"),
    Knob("listener_protocol", f"{_LB}.listener_protocol", Kind.CHOICE, "what they speak", choices=("HTTP", "HTTPS"),
         source="API-ELB CreateListenerInput", resource=LISTENER, cfn_property="Protocol"),
    Knob("idle_timeout_s", f"{_LB}.idle_timeout_s", _SECONDS, "a connection may be silent", 1, 4000,
         source="API-ELB LoadBalancerAttribute", resource=LOAD_BALANCER, attribute="idle_timeout.timeout_seconds"),
    Knob("client_keep_alive_s", f"{_LB}.client_keep_alive_s", _SECONDS, "a client's connection may live", 60, 604_800,
         source="API-ELB LoadBalancerAttribute", resource=LOAD_BALANCER, attribute="client_keep_alive.seconds"),
    Knob("connect_timeout_s", f"{_LB}.connect_timeout_s", _SECONDS, "to a target; fixed at AWS", 10, 10,
         source="ALB-UG/load-balancer-troubleshooting"),
    Knob("xff_mode", f"{_LB}.xff_mode", Kind.CHOICE, "what happens to X-Forwarded-For",
         choices=("append", "preserve", "remove"), source="API-ELB LoadBalancerAttribute", resource=LOAD_BALANCER,
         attribute="routing.http.xff_header_processing.mode"),
    Knob("xff_client_port", f"{_LB}.xff_client_port", _BOOL, "X-Forwarded-For names the client's port too",
         resource=LOAD_BALANCER, attribute="routing.http.xff_client_port.enabled"),
    Knob("preserve_host_header", f"{_LB}.preserve_host_header", _BOOL, "Host reaches the target unchanged",
         resource=LOAD_BALANCER, attribute="routing.http.preserve_host_header.enabled"),
    Knob("server_header", f"{_LB}.server_header", _BOOL, "error pages carry Server: awselb/2.0",
         resource=LISTENER, attribute="routing.http.response.server.enabled"),
)  # fmt: skip

_BEHAVIOUR_KNOBS = (
    Knob("sticky_overrides_drain", "behaviour.sticky_overrides_drain", _BOOL,
         "a valid cookie keeps reaching a draining target; AWS's wording says it does not"),
    Knob("stop_task_drains", "behaviour.stop_task_drains", _BOOL, "StopTask deregisters and waits before SIGTERM"),
    Knob("nodes", "behaviour.nodes", _INT, "load balancer nodes, each with a view of its own", 1, 100,
         source="ALB-UG: at least one a zone"),
)  # fmt: skip

_PLATFORM_KNOBS = (
    Knob("routing", "platform.routing", Kind.CHOICE, "how the instance for a request is found; --platform sets it",
         choices=tuple(Routing), source="core/platforms.py"),
    Knob("request_timeout_s", "platform.request_timeout_s", _SECONDS, "a whole request may last; 0: no limit",
         0, 900, source="LAMBDA-DG/configuration-timeout, APPRUNNER-DG/develop"),
    Knob("session_idle_s", "platform.session_idle_s", _SECONDS, "by_session_header: then an idle session is over",
         60, 28_800, source="AGENTCORE-DG/runtime-lifecycle-settings"),
    Knob("session_lifetime_s", "platform.session_lifetime_s", _SECONDS, "by_session_header: the longest session",
         60, 28_800, source="AGENTCORE-DG/runtime-lifecycle-settings"),
)  # fmt: skip

KNOBS: tuple[Knob, ...] = (
    *_SERVICE_KNOBS, *_TASK_KNOBS, *_TARGET_GROUP_KNOBS, *_LOAD_BALANCER_KNOBS, *_BEHAVIOUR_KNOBS, *_PLATFORM_KNOBS
)  # fmt: skip

KNOB_BY_NAME = {knob.name: knob for knob in KNOBS}
KNOB_BY_PATH = {knob.path: knob for knob in KNOBS}
