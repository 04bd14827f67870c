from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollproof.api.knobs import KnobReading, settings_from_templates
from rollproof.api.source import parse_template
from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.knob_table import KNOB_BY_NAME, KNOBS
from rollproof.core.knob_values import get_knob
from rollproof.core.settings import Algorithm, Settings, StickinessType
from rollproof.core.validate import validate
from tests.api.templates import ECS, INFRASTRUCTURE

OURS = [INFRASTRUCTURE, ECS]


@pytest.fixture(scope="module")
def ours() -> KnobReading:
    return settings_from_templates(OURS)


@pytest.fixture(scope="module")
def changed() -> KnobReading:
    """Our templates with every parameter of TEMPLATE_PARAMETERS given at once."""
    return settings_from_templates(OURS, {parameter: given for parameter, given, _, _ in TEMPLATE_PARAMETERS})


SERVICE = """
Resources:
  Cluster: {Type: AWS::ECS::Cluster}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Cpu: .5 vCPU
      Memory: 1 GB
      ContainerDefinitions:
        - Name: app
          Image: repo/app:1
          PortMappings: [{ContainerPort: 9000}]
  Service:
    Type: AWS::ECS::Service
    Properties:
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task
      LoadBalancers: [{TargetGroupArn: !Ref Group, ContainerName: app, ContainerPort: 9000}]
  Group: {Type: AWS::ElasticLoadBalancingV2::TargetGroup, Properties: {Port: 80, TargetType: ip}}
  Balancer: {Type: AWS::ElasticLoadBalancingV2::LoadBalancer}
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Balancer
      Port: 8080
      Protocol: HTTP
      DefaultActions: [{Type: forward, TargetGroupArn: !Ref Group}]
"""

ENTRY = "LoadBalancers: [{TargetGroupArn: !Ref Group, ContainerName: app, ContainerPort: 9000}]"
WEIGHTED = "[{TargetGroupArn: !Ref Group}, {TargetGroupArn: b}]"


def _read(directory: Path, text: str = SERVICE, *changes: tuple[str, str], **options: Any) -> KnobReading:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / "t.yaml"
    path.write_text(text)
    return settings_from_templates([path], **options)


def _knob(reading: KnobReading, name: str) -> Any:
    return get_knob(reading.settings, KNOB_BY_NAME[name])


def test_our_templates_give_every_knob_with_its_source(ours: KnobReading) -> None:
    validate(ours.settings)
    environment = ours.settings.task_definition.environment
    variables = {f"task_definition.environment.{name}" for name in environment}
    assert set(ours.settings.sources) == {knob.path for knob in KNOBS} | variables
    assert ours.secret_names == ("MCP_REQUEST_STATE_KEY", "REDIS_URL")
    assert not environment.keys() & set(ours.secret_names)


def test_our_templates_deploy_what_the_experiment_deployed(ours: KnobReading) -> None:
    expected = {
        "service_name": "mcp-fargate-service",
        "cluster": "mcp-fargate-cluster",
        "desired_count": 2,
        "minimum_healthy_percent": 100,
        "maximum_percent": 200,
        "circuit_breaker_enable": True,
        "circuit_breaker_rollback": True,
        "availability_zones": ("us-east-1a", "us-east-1b"),
        "deregistration_delay_s": 300.0,
        "stickiness_enabled": True,
        "stickiness_type": StickinessType.LB_COOKIE,
        "stickiness_duration_s": 86_400.0,
        "health_check_path": "/health",
        "algorithm": Algorithm.ROUND_ROBIN,
        "container_health_check_command": ("CMD", "python", "-m", "server.healthcheck"),
        "listener_port": 80,
        "listener_protocol": "HTTP",
        "container_port": 8000,
        "has_load_balancer": True,
    }
    assert {name: _knob(ours, name) for name in expected} == expected
    environment = ours.settings.task_definition.environment
    assert (environment["MCP_STATELESS_HTTP"], environment["SESSION_TTL_SECONDS"]) == ("true", "86400")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("maximum_percent", "ecs.yaml:Service.DeploymentConfiguration.MaximumPercent"),
        ("stop_timeout_s", "ecs.yaml:TaskDefinition.ContainerDefinitions[0].StopTimeout"),
        ("deregistration_delay_s", "infrastructure.yaml:TargetGroup.deregistration_delay.timeout_seconds"),
        ("health_check_interval_s", "infrastructure.yaml:TargetGroup.HealthCheckIntervalSeconds"),
        ("idle_timeout_s", "infrastructure.yaml:LoadBalancer.idle_timeout.timeout_seconds"),
        ("listener_port", "infrastructure.yaml:HttpListener.Port"),
        ("slow_start_s", "AWS default"),
        ("sticky_overrides_drain", "rollproof default"),
        ("region", "AWS::Region"),
    ],
)
def test_a_source_names_file_resource_and_property(name: str, source: str, ours: KnobReading) -> None:
    assert ours.settings.sources[KNOB_BY_NAME[name].path].endswith(source)


TEMPLATE_PARAMETERS = [
    ("DesiredCount", "5", "desired_count", 5),
    ("ServiceName", "other", "service_name", "other"),
    ("ClusterName", "other", "cluster", "other"),
    ("TaskFamily", "other", "family", "other"),
    ("MinimumHealthyPercent", "50", "minimum_healthy_percent", 50),
    ("MaximumPercent", "150", "maximum_percent", 150),
    ("HealthCheckGracePeriodSeconds", "5", "health_check_grace_period_s", 5.0),
    ("StopTimeoutSeconds", "120", "stop_timeout_s", 120.0),
    ("TaskCpu", "512", "cpu", 512),
    ("TaskMemory", "1024", "memory_mib", 1024),
    ("ContainerPort", "3000", "container_port", 3000),
    ("DeregistrationDelaySeconds", "30", "deregistration_delay_s", 30.0),
    ("StickinessEnabled", "false", "stickiness_enabled", False),
    ("StickinessDurationSeconds", "60", "stickiness_duration_s", 60.0),
    ("LoadBalancingAlgorithm", "weighted_random", "algorithm", Algorithm.WEIGHTED_RANDOM),
    ("HealthCheckPath", "/healthz", "health_check_path", "/healthz"),
    ("HealthCheckIntervalSeconds", "10", "health_check_interval_s", 10.0),
    ("HealthCheckTimeoutSeconds", "2", "health_check_timeout_s", 2.0),
    ("HealthyThresholdCount", "4", "healthy_threshold", 4),
    ("UnhealthyThresholdCount", "4", "unhealthy_threshold", 4),
    ("IdleTimeoutSeconds", "4000", "idle_timeout_s", 4000.0),
    ("ClientKeepAliveSeconds", "60", "client_keep_alive_s", 60.0),
    ("CertificateArn", "arn:aws:acm:us-east-1:123456789012:certificate/1", "listener_port", 443),
    ("AWS::Region", "eu-west-1", "availability_zones", ("eu-west-1a", "eu-west-1b")),
    ("AWS::AccountId", "210987654321", "account", "210987654321"),
]


@pytest.mark.parametrize(("parameter", "given", "name", "value"), TEMPLATE_PARAMETERS, ids=str)
def test_a_parameter_changes_its_knob(
    parameter: str, given: str, name: str, value: object, ours: KnobReading, changed: KnobReading
) -> None:
    assert _knob(changed, name) == value
    assert _knob(ours, name) != value
    if not parameter.startswith("AWS::") and name != "listener_port":
        knob = KNOB_BY_NAME[name]
        assert f"{parameter}={given}" in changed.settings.sources[knob.path] or name in ("cluster", "container_port")


def test_parameters_change_the_environment() -> None:
    reading = settings_from_templates(OURS, {"SessionStore": "memory", "StatelessHttp": "false", "ImageTag": "v2"})
    environment = reading.settings.task_definition.environment
    assert (environment["MCP_STATELESS_HTTP"], environment["APP_VERSION"]) == ("false", "v2")
    assert reading.settings.task_definition.image.endswith(":v2")
    assert reading.secret_names == ("MCP_REQUEST_STATE_KEY",)


def test_a_silent_template_gives_aws_defaults(tmp_path: Path) -> None:
    reading = _read(tmp_path)
    defaults = Settings()
    unlike = {
        "service_name": "Service",
        "cluster": "Cluster",
        "desired_count": 1,
        "family": "Task",
        "container_name": "app",
        "image": "repo/app:1",
        "container_port": 9000,
        "cpu": 512,
        "memory_mib": 1024,
        "target_group_name": "Group",
        "target_group_port": 80,
        "load_balancer_name": "Balancer",
        "listener_port": 8080,
    }
    assert {knob.name: _knob(reading, knob.name) for knob in KNOBS} == {
        knob.name: unlike.get(knob.name, get_knob(defaults, knob)) for knob in KNOBS
    }
    assert reading.settings.sources["service.desired_count"] == "AWS default"
    assert reading.settings.sources["target_group.deregistration_delay_s"] == "AWS default"
    assert "its logical id" in reading.settings.sources["service.name"]
    assert reading.notes == ()


def _service(line: str) -> tuple[str, str]:
    """A change that gives the service one more property."""
    return "TaskDefinition: !Ref Task\n", f"TaskDefinition: !Ref Task\n      {line}\n"


def _container(line: str) -> tuple[str, str]:
    """A change that gives the container one more property."""
    return "Image: repo/app:1\n", f"Image: repo/app:1\n          {line}\n"


def _attributes(*pairs: tuple[str, str]) -> tuple[str, str]:
    listed = ", ".join(f"{{Key: {key}, Value: {value}}}" for key, value in pairs)
    return "TargetType: ip", f"TargetType: ip, TargetGroupAttributes: [{listed}]"


def test_an_application_cookie_brings_its_own_duration(tmp_path: Path) -> None:
    reading = _read(
        tmp_path,
        SERVICE,
        _attributes(
            ("stickiness.enabled", "true"),
            ("stickiness.type", "app_cookie"),
            ("stickiness.app_cookie.cookie_name", "sid"),
            ("stickiness.app_cookie.duration_seconds", "60"),
            ("stickiness.lb_cookie.duration_seconds", "99"),
        ),
    )
    stickiness = reading.settings.target_group.stickiness
    assert (stickiness.type, stickiness.cookie_name, stickiness.duration_s) == (StickinessType.APP_COOKIE, "sid", 60.0)
    assert reading.settings.sources["target_group.stickiness.duration_s"].endswith("app_cookie.duration_seconds")


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        ("!GetAtt Cluster.Arn", "Cluster"),
        ("prod", "prod"),
        ("arn:aws:ecs:us-east-1:123456789012:cluster/prod", "prod"),
        ("!Ref AWS::NoValue", "default"),
    ],
)
def test_the_cluster_is_known_by_its_name(tmp_path: Path, cluster: str, name: str) -> None:
    assert _knob(_read(tmp_path, SERVICE, ("Cluster: !Ref Cluster", f"Cluster: {cluster}")), "cluster") == name


def test_https_is_preferred_where_both_listeners_forward(tmp_path: Path) -> None:
    second = """
  Secure:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Balancer
      Port: 443
      Protocol: HTTPS
      DefaultActions: [{Type: authenticate-oidc}, {Type: forward, TargetGroupArn: !Ref Group}]
"""
    reading = _read(tmp_path, SERVICE + second)
    assert (_knob(reading, "listener_port"), _knob(reading, "listener_protocol")) == (443, "HTTPS")
    assert "clients come through Secure; Listener forwards to Group too" in reading.notes
    assert "Secure: the action authenticate-oidc is not rehearsed" in reading.notes
    assert any("TLS is not rehearsed" in note for note in reading.notes)


def test_a_listener_rule_leads_to_its_listener(tmp_path: Path) -> None:
    rule = """
  Rule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      ListenerArn: !Ref Listener
      Actions: [{Type: forward, ForwardConfig: {TargetGroups: [{TargetGroupArn: !Ref Group}]}}]
"""
    reading = _read(tmp_path, SERVICE + rule, ("{Type: forward, TargetGroupArn: !Ref Group}", "{Type: fixed-response}"))
    assert _knob(reading, "listener_port") == 8080


def test_a_listener_and_a_target_group_elsewhere_are_noted(tmp_path: Path) -> None:
    without_listener = _read(tmp_path, SERVICE, ("TargetGroupArn: !Ref Group}]\n", "TargetGroupArn: other}]\n"))
    assert any("no listener forwards to Group" in note for note in without_listener.notes)
    without_balancer = _read(tmp_path, SERVICE, ("LoadBalancerArn: !Ref Balancer", "LoadBalancerArn: arn:lb"))
    assert any("the load balancer of Listener is in no template" in note for note in without_balancer.notes)
    head, _, _ = SERVICE.partition("  Group:")
    alone = _read(tmp_path, head, ("!Ref Group", "arn:group"))
    assert any("target group arn:group is in no template" in note for note in alone.notes)
    assert _knob(alone, "has_load_balancer")
    assert _knob(alone, "target_group_port") == 9000


def test_a_service_without_load_balancer_does_not_drain(tmp_path: Path) -> None:
    reading = _read(tmp_path, SERVICE, (ENTRY, "LoadBalancers: []"))
    assert not _knob(reading, "has_load_balancer")
    assert _knob(reading, "container_port") == 9000
    assert any("no draining, no stickiness" in note for note in reading.notes)
    silent = _read(
        tmp_path, SERVICE, (ENTRY, "LoadBalancers: []"), ("          PortMappings: [{ContainerPort: 9000}]\n", "")
    )
    assert any("no port is published" in note for note in silent.notes)


def test_values_that_exist_only_after_a_deployment_are_left_to_the_rehearsal(tmp_path: Path) -> None:
    environment = "Environment: [{Name: URL, Value: !Sub 'redis://${Balancer.Host}'}, {Name: A, Value: true}]"
    reading = _read(tmp_path, SERVICE, _container(environment))
    assert reading.settings.task_definition.environment == {"A": "true"}
    assert reading.secret_names == ("URL",)
    assert any("URL is redis://<Balancer.Host>: known only after a deployment" in note for note in reading.notes)


def test_one_of_several_services_is_chosen_by_name(tmp_path: Path) -> None:
    other = "  Other: {Type: AWS::ECS::Service, Properties: {ServiceName: worker, TaskDefinition: !Ref Task}}\n"
    with pytest.raises(UsageError, match=r"2 services to choose from: Service \(.*t\.yaml\), Other") as caught:
        _read(tmp_path, SERVICE + other)
    assert "rollproof.toml" in caught.value.hint
    assert _knob(_read(tmp_path, SERVICE + other, service="Service"), "service_name") == "Service"
    assert _knob(_read(tmp_path, SERVICE + other, service="worker"), "service_name") == "worker"
    with pytest.raises(UsageError, match=r"no AWS::ECS::Service 'nobody' in "):
        _read(tmp_path, SERVICE + other, service="nobody")


def test_sidecars_are_left_out_aloud(tmp_path: Path) -> None:
    sidecars = """Image: repo/app:1
        - {Name: proxy, Image: envoy:1}
        - {Name: logs, Image: fluent:1, Essential: false}
        - Name: rest
          Image: x
"""
    text = SERVICE.replace("          PortMappings: [{ContainerPort: 9000}]\n", "")
    reading = _read(tmp_path, text, ("Image: repo/app:1\n", sidecars))
    assert any("container proxy is not started" in note and "the task stops" in note for note in reading.notes)
    assert any("container logs is not started" in note and "the task stops" not in note for note in reading.notes)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_service("LaunchType: EC2"), "Service.LaunchType is EC2"),
        (
            _service("CapacityProviderStrategy: [{CapacityProvider: FARGATE_SPOT}]"),
            "Service.CapacityProviderStrategy is set: capacity is always there",
        ),
        (
            _service("DeploymentConfiguration: {Alarms: {Enable: true}}"),
            "Service.DeploymentConfiguration.Alarms is set: deployment alarms are not rehearsed",
        ),
        (
            _service("Surprise: 1"),
            "Service.Surprise is not rehearsed",
        ),
        (_container("EntryPoint: [sh]"), "app.EntryPoint is set"),
        (("Cpu: .5 vCPU", "Family: f"), "Task.Cpu is missing, which Fargate needs: 256 is assumed"),
        (
            _attributes(("load_balancing.algorithm.anomaly_mitigation", "on")),
            "anomaly mitigation is not rehearsed",
        ),
        (_attributes(("surprise.enabled", "true")), "Group.surprise.enabled is not rehearsed"),
        (
            ("Resources:\n", "Resources:\n  Scaling: {Type: AWS::ApplicationAutoScaling::ScalableTarget}\n"),
            "Scaling (AWS::ApplicationAutoScaling::ScalableTarget): scaling is not rehearsed",
        ),
        (("Resources:\n", "Rules: {R: {Assertions: []}}\nResources:\n"), "Rules are not checked"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_noted(tmp_path: Path, change: tuple[str, str], note: str) -> None:
    assert any(note in each for each in _read(tmp_path, SERVICE, change).notes)


@pytest.mark.parametrize(
    "change",
    [
        ("Resources:\n", "Resources:\n  Role: {Type: AWS::IAM::Role}\n"),
        _service("DeploymentConfiguration: {Alarms: {Enable: false}}"),
        _service("AvailabilityZoneRebalancing: DISABLED"),
        _service("DeploymentController: {Type: ECS}"),
        _container("RestartPolicy: {Enabled: false}"),
        _attributes(("load_balancing.cross_zone.enabled", "use_load_balancer_configuration")),
        _attributes(("load_balancing.cross_zone.enabled", "false")),
        _attributes(("target_group_health.dns_failover.minimum_healthy_targets.count", "1")),
        _attributes(("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off")),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_not_noted(tmp_path: Path, change: tuple[str, str]) -> None:
    assert _read(tmp_path, SERVICE, change).notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_service("DeploymentController: {Type: CODE_DEPLOY}"), "Type is CODE_DEPLOY: only rolling"),
        (_service("DeploymentConfiguration: {Strategy: BLUE_GREEN}"), "Strategy is BLUE_GREEN: only rolling"),
        (_service("SchedulingStrategy: DAEMON"), "only REPLICA services"),
        (("TargetType: ip", "TargetType: lambda"), "only targets of type ip"),
        (("Port: 80,", "HealthCheckEnabled: false,"), "health checks cannot be off"),
        (("V2::LoadBalancer}", "V2::LoadBalancer, Properties: {Type: network}}"), "only Application Load Balancers"),
        (("ContainerPort: 9000}]\n  Group", "ContainerPort: 9000}, {TargetGroupArn: b}]\n  Group"), "2 target groups"),
        (("TargetGroupArn: !Ref Group}]\n", f"ForwardConfig: {{TargetGroups: {WEIGHTED}}}}}]\n"), "weighted"),
    ],
)  # fmt: skip
def test_what_would_behave_otherwise_on_aws_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(NotModelled) as caught:
        _read(tmp_path, SERVICE, change)
    assert message in caught.value.message
    assert "t.yaml:" in caught.value.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("AWS::ECS::Service", "AWS::ECS::TaskSet"), "no AWS::ECS::Service in"),
        (("TaskDefinition: !Ref Task", "TaskDefinition: arn:task:1"), "'arn:task:1' is no task definition"),
        (("TargetGroupArn: !Ref Group, C", "TargetGroupArn: arn:x, C"), "'arn:x' is no target group"),
        (("ContainerName: app", "ContainerName: api"), "wants container 'api'; there are app"),
        ((" [{ContainerPort: 9000}]", " [{ContainerPort: 1}]"), "container port 9000, published is 1"),
        (("Image: repo/app:1", "User: x"), "a container needs a Name and an Image"),
        (_container("StopTimeout: soon"), "StopTimeout: stop_timeout_s: 'soon' is not a value"),
        (_container("StopTimeout: !GetAtt Group.X"), "<Group.X> is known only after a deployment"),
        (_container("Environment: [{Name: A}]"), "needs Name and Value"),
        (_container("Secrets: {A: b}"), "lists of Name and ValueFrom"),
        (_container("HealthCheck: {Interval: 9}"), "no health check of its own"),
        ((ENTRY, "LoadBalancers: app"), "LoadBalancers: must be a list of mappings"),
        (("ContainerDefinitions:\n", "ContainerDefinitions: []\n      Volumes:\n"), "needs ContainerDefinitions"),
        (("Cpu: .5 vCPU", "Cpu: half vCPU"), "cpu: 'half vCPU' is not a value"),
        (("!Ref Task\n", "!Ref Tsak\n"), "'Tsak' is neither a parameter nor a resource"),
    ],
)  # fmt: skip
def test_a_template_that_says_something_wrong_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read(tmp_path, SERVICE, change)
    assert message in caught.value.message
    assert "t.yaml" in caught.value.message


@pytest.mark.parametrize(
    ("paths", "parameters", "message"),
    [
        ([ECS], {}, "no export named 'mcp-infrastructure-"),
        ([INFRASTRUCTURE], {}, "no AWS::ECS::Service in"),
        (OURS, {"DesiredCont": "1"}, "no parameter 'DesiredCont'"),
        (OURS, {"DesiredCount": "many"}, "parameter DesiredCount is 'many': not a number"),
        (OURS, {"DeregistrationDelaySeconds": "3601"}, "MaxValue is 3600"),
        (OURS, {"HealthCheckPath": "health"}, "it must match /.*"),
    ],
)
def test_our_templates_used_wrongly(paths: list[Path], parameters: Mapping[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_templates(paths, parameters)
    assert message in caught.value.message


def test_which_container_serves_is_not_guessed(tmp_path: Path) -> None:
    two = "Image: repo/app:1\n          PortMappings: [{ContainerPort: 1}]\n        - Name: b\n          Image: b:1"
    with pytest.raises(UsageError, match=r"which container serves\? app, b"):
        _read(tmp_path, SERVICE, (ENTRY, "LoadBalancers: []"), ("Image: repo/app:1", two))


NO_VALUE, ATTRIBUTE = {"Ref": "AWS::NoValue"}, {"Fn::GetAtt": ["Group", "Arn"]}
JUNK: list[Any] = [None, True, -1, "", "x", [], ["x"], {}, {"a": "b"}, {"Ref": "Service"}, NO_VALUE, ATTRIBUTE]
BODY = json.loads(json.dumps(parse_template(SERVICE).body))


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        yield from _places(item, (*place, key))


def _put(value: Any, place: tuple[Any, ...], junk: Any) -> Any:
    if not place:
        return junk
    changed = copy.copy(value)
    changed[place[0]] = _put(value[place[0]], place[1:], junk)
    return changed


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_junk_anywhere_in_a_template_is_read_or_refused_but_never_breaks_the_reader(data: st.DataObject) -> None:
    body = BODY
    for _ in range(data.draw(st.integers(1, 3))):
        body = _put(body, data.draw(st.sampled_from(list(_places(body)))), data.draw(st.sampled_from(JUNK)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.json"
        path.write_text(json.dumps(body))
        with contextlib.suppress(UsageError):
            validate(settings_from_templates([path]).settings)
