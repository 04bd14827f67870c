"""What a team configures: the knobs of a service, its task definition, target group and load balancer.

Every field is named as AWS names the setting, with its unit last; each default is AWS's own, with the
source in the field's comment (keys as in docs/fidelity.md). Validation is in `validate`: a rehearsal
of settings that AWS would refuse proves nothing.

All durations are AWS's, unscaled; `timing.scale_settings` makes a run faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Algorithm(StrEnum):
    """`load_balancing.algorithm.type`. ALB-UG."""

    ROUND_ROBIN = "round_robin"
    LEAST_OUTSTANDING_REQUESTS = "least_outstanding_requests"
    WEIGHTED_RANDOM = "weighted_random"


class StickinessType(StrEnum):
    """`stickiness.type` of an ALB target group. ALB-UG."""

    LB_COOKIE = "lb_cookie"
    APP_COOKIE = "app_cookie"


class ThresholdType(StrEnum):
    """`deploymentCircuitBreaker.thresholdConfiguration.type`. API-ECS 1.44.5."""

    COUNT = "COUNT"
    BOUNDED_PERCENT = "BOUNDED_PERCENT"
    UNBOUNDED_PERCENT = "UNBOUNDED_PERCENT"


@dataclass(frozen=True)
class Stickiness:
    """Target group stickiness. ALB-UG/sticky-sessions."""

    enabled: bool = False
    type: StickinessType = StickinessType.LB_COOKIE
    duration_s: float = 86_400.0  # stickiness.lb_cookie.duration_seconds 1..604800
    cookie_name: str = ""  # stickiness.app_cookie.cookie_name; never AWSALB*


@dataclass(frozen=True)
class HealthCheck:
    """Target group health check of an HTTP target of type ip. ALB-UG, API-ELB CreateTargetGroupInput."""

    path: str = "/"
    interval_s: float = 30.0  # 5..300
    timeout_s: float = 5.0  # 2..120; the guide says 5, API text 6 for HTTP
    healthy_threshold: int = 5  # 2..10; counts only when recovering from unhealthy
    unhealthy_threshold: int = 2  # 2..10
    matcher: str = "200"  # "200", "200,202", "200-299"; within 200..499


@dataclass(frozen=True)
class TargetGroupSettings:
    """One target group and the attributes that decide about sessions."""

    name: str = "mcp"
    port: int = 8000
    deregistration_delay_s: float = 300.0  # 0..3600. ALB-UG/load-balancer-target-groups
    stickiness: Stickiness = Stickiness()
    health_check: HealthCheck = HealthCheck()
    algorithm: Algorithm = Algorithm.ROUND_ROBIN
    slow_start_s: float = 0.0  # 0 or 30..900; not with least_outstanding_requests
    cross_zone: str = (
        "use_load_balancer_configuration"  # which is on; or true, false. ALB-UG/load-balancer-target-groups
    )
    minimum_healthy_targets: int = 1  # target_group_health.unhealthy_state_routing...count. API-ELB
    minimum_healthy_targets_percent: int = 0  # ...percentage: 0 is AWS's "off", else 1..100. API-ELB


@dataclass(frozen=True)
class LoadBalancerSettings:
    """Attributes of the load balancer. API-ELB ModifyLoadBalancerAttributes."""

    name: str = "mcp"
    listener_port: int = 80
    listener_protocol: str = "HTTP"
    idle_timeout_s: float = 60.0  # idle_timeout.timeout_seconds 1..4000
    client_keep_alive_s: float = 3600.0  # client_keep_alive.seconds 60..604800
    connect_timeout_s: float = 10.0  # fixed at AWS. ALB-UG/load-balancer-troubleshooting
    xff_mode: str = "append"  # routing.http.xff_header_processing.mode append|preserve|remove
    xff_client_port: bool = False
    preserve_host_header: bool = False
    server_header: bool = True  # routing.http.response.server.enabled


@dataclass(frozen=True)
class ContainerHealthCheck:
    """`healthCheck` of the essential container. API-ECS HealthCheck. `command` as in a task definition:
    `("CMD", "prog", "arg")` or `("CMD-SHELL", "line")`."""

    command: tuple[str, ...]
    interval_s: float = 30.0  # 5..300
    timeout_s: float = 5.0  # 2..60
    retries: int = 3  # 1..10
    start_period_s: float = 0.0  # 0..300


@dataclass(frozen=True)
class TaskDefinition:
    """One revision: what runs in a task. One essential container, as the templates have it.

    `image` is what ECS records; `command` overrides the image's own, as in a container definition.
    """

    family: str = "mcp-server"
    revision: int = 1
    container: str = "mcp-server"
    image: str = "mcp-server:latest"
    command: tuple[str, ...] = ()
    container_port: int = 8000
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu: int = 256  # CPU units
    memory_mib: int = 512
    stop_timeout_s: float = 30.0  # Fargate 2..120. API-ECS ContainerDefinition
    stop_signal: str = "SIGTERM"  # the image's STOPSIGNAL; honoured on Fargate since WN-2025-12
    health_check: ContainerHealthCheck | None = None

    @property
    def name(self) -> str:
        return f"{self.family}:{self.revision}"


@dataclass(frozen=True)
class CircuitBreaker:
    """`deploymentCircuitBreaker`. API-ECS; the threshold configuration is the 2026 model."""

    enable: bool = False
    rollback: bool = False
    threshold_type: ThresholdType = ThresholdType.BOUNDED_PERCENT
    threshold_value: int = 50
    reset_on_healthy_task: bool = True


@dataclass(frozen=True)
class ServiceSettings:
    """The service and what it deploys."""

    name: str = "mcp-service"
    cluster: str = "mcp-cluster"
    region: str = "us-east-1"
    account: str = "123456789012"
    availability_zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")
    desired_count: int = 2
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    health_check_grace_period_s: float = 0.0  # healthCheckGracePeriodSeconds; ECS only, the ALB knows nothing of it
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    availability_zone_rebalancing: str = "ENABLED"  # or DISABLED; AWS's default for new services. API-ECS
    has_load_balancer: bool = True


@dataclass(frozen=True)
class Behaviour:
    """Where documents and observation disagree, or none speaks: named settings, printed in every report."""

    sticky_overrides_drain: bool = False  # ALB-UG wording says no; a published experiment read it as yes
    stop_task_drains: bool = (
        True  # StopTask deregisters and waits before SIGTERM. WN-2023-02-13; the wait is [inferred]
    )
    nodes: int = 2  # load balancer nodes, each with its own view


class Routing(StrEnum):
    """How the instance for a request is found. The last two are of other platforms than ECS (core/platforms.py)."""

    COOKIES = "cookies"  # an ALB: a valid sticky cookie, else the target group's algorithm
    EXCLUSIVE = "exclusive"  # one request at a time per instance, which is frozen between two
    BY_SESSION_HEADER = "by_session_header"  # one instance per Mcp-Session-Id


@dataclass(frozen=True)
class PlatformSettings:
    """What runs the instances, as far as it is not ECS behind an ALB. The defaults change nothing."""

    routing: Routing = Routing.COOKIES
    request_timeout_s: float = 0.0  # of a whole request, its response included; 0: none
    session_idle_s: float = 900.0  # by_session_header: a session without a request for so long is over
    session_lifetime_s: float = 28_800.0  # by_session_header: and none lives longer; so long an old instance drains

    @property
    def sessions_stay(self) -> bool:
        """A session's requests reach its instance however long that drains."""
        return self.routing is Routing.BY_SESSION_HEADER

    @property
    def checks_end_when_healthy(self) -> bool:
        """Readiness is looked for once: a frozen instance could not answer, and nobody asks it."""
        return self.routing is Routing.EXCLUSIVE


@dataclass(frozen=True)
class Settings:
    """Everything a rehearsal is configured with; the value that `set` flags and templates produce."""

    service: ServiceSettings = ServiceSettings()
    task_definition: TaskDefinition = TaskDefinition()
    target_group: TargetGroupSettings = TargetGroupSettings()
    load_balancer: LoadBalancerSettings = LoadBalancerSettings()
    behaviour: Behaviour = Behaviour()
    platform: PlatformSettings = PlatformSettings()
    sources: Mapping[str, str] = field(default_factory=dict)  # knob -> where its value came from
