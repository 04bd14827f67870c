"""The templates that the project deploys: clean by cfn-lint's schemas, and safe by rules of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped]

from rollproof.api.stacks import Stacks, resolve_stacks
from rollproof.api.template import Resource
from server.settings import Settings, SettingsError
from tests.api.templates import ECS, INFRASTRUCTURE

CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/1"


@pytest.fixture(scope="module")
def stacks() -> Stacks:
    return resolve_stacks([INFRASTRUCTURE, ECS], {})


def _one(stacks: Stacks, logical_id: str) -> Resource:
    (found,) = [stack.resources[logical_id] for stack in stacks.stacks if logical_id in stack.resources]
    return found


@pytest.mark.parametrize("path", [INFRASTRUCTURE, ECS], ids=lambda path: path.name)
def test_cfn_lint_finds_nothing(path: Path) -> None:
    assert [str(match) for match in lint_file(path)] == []


def test_cfn_lint_would_find_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "ecs.yaml"
    broken.write_text(ECS.read_text().replace("MaximumPercent: !Ref", "MaximalPercent: !Ref"))
    assert any("MaximalPercent" in str(match) for match in lint_file(broken))


def _all_parameters() -> Iterator[tuple[str, str, Any]]:
    for stack in resolve_stacks([INFRASTRUCTURE, ECS], {}).stacks:
        for name, declared in stack.template.section("Parameters").items():
            yield stack.template.name, name, declared


def test_every_parameter_has_a_default_a_description_and_bounds() -> None:
    bounds = {"AllowedValues", "AllowedPattern", "MinValue", "MaxLength"}
    for template, name, declared in _all_parameters():
        assert {"Default", "Description"} <= set(declared), (template, name)
        assert bounds & set(declared), (template, name)
        assert declared["Type"] != "Number" or {"MinValue", "MaxValue"} <= set(declared) or "AllowedValues" in declared


def test_every_parameter_stands_in_the_console_groups(stacks: Stacks) -> None:
    for stack in stacks.stacks:
        interface = stack.template.section("Metadata")["AWS::CloudFormation::Interface"]
        grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
        assert sorted(grouped) == sorted(stack.template.section("Parameters"))


def test_only_the_load_balancer_may_reach_the_tasks_and_only_the_tasks_redis(stacks: Stacks) -> None:
    tasks = _one(stacks, "TaskSecurityGroup").properties["SecurityGroupIngress"]
    assert [(rule["FromPort"], rule["SourceSecurityGroupId"]) for rule in tasks] == [
        (8000, "<LoadBalancerSecurityGroup>")
    ]
    redis = _one(stacks, "RedisSecurityGroup").properties
    ingress = redis["SecurityGroupIngress"]
    assert [(rule["FromPort"], rule["SourceSecurityGroupId"]) for rule in ingress] == [(6379, "<TaskSecurityGroup>")]
    assert [rule["CidrIp"] for rule in redis["SecurityGroupEgress"]] == ["127.0.0.1/32"]


def test_clients_come_from_the_given_range_only() -> None:
    stacks = resolve_stacks([INFRASTRUCTURE], {"ClientCidr": "203.0.113.0/24", "CertificateArn": CERTIFICATE})
    ingress = _one(stacks, "LoadBalancerSecurityGroup").properties["SecurityGroupIngress"]
    assert [(rule["ToPort"], rule["CidrIp"]) for rule in ingress] == [(80, "203.0.113.0/24"), (443, "203.0.113.0/24")]


def test_subnets_are_two_public_and_two_private_in_two_zones(stacks: Stacks) -> None:
    subnets = stacks.of_type("AWS::EC2::Subnet")
    placed = {(each.properties["AvailabilityZone"], each.properties["CidrBlock"]) for each in subnets}
    assert placed == {
        ("us-east-1a", "10.0.0.0/24"),
        ("us-east-1b", "10.0.1.0/24"),
        ("us-east-1a", "10.0.2.0/24"),
        ("us-east-1b", "10.0.3.0/24"),
    }
    network = _one(stacks, "Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network == {
        "AssignPublicIp": "DISABLED",
        "Subnets": ["<PrivateSubnet1>", "<PrivateSubnet2>"],
        "SecurityGroups": ["<TaskSecurityGroup>"],
    }
    assert _one(stacks, "RedisSubnetGroup").properties["SubnetIds"] == ["<PrivateSubnet1>", "<PrivateSubnet2>"]


@pytest.mark.parametrize(
    ("per_zone", "gateways"), [("false", ["<NatGateway1>"] * 2), ("true", ["<NatGateway1>", "<NatGateway2>"])]
)
def test_private_subnets_reach_out_through_nat(per_zone: str, gateways: list[str]) -> None:
    stacks = resolve_stacks([INFRASTRUCTURE], {"NatGatewayPerZone": per_zone})
    routes = [_one(stacks, name).properties["NatGatewayId"] for name in ("PrivateRoute1", "PrivateRoute2")]
    assert routes == gateways
    assert len(stacks.of_type("AWS::EC2::NatGateway")) == len(set(gateways))


def test_with_a_certificate_http_only_redirects() -> None:
    stacks = resolve_stacks([INFRASTRUCTURE], {"CertificateArn": CERTIFICATE})
    (http,) = _one(stacks, "HttpListener").properties["DefaultActions"]
    assert (http["Type"], http["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")
    https = _one(stacks, "HttpsListener").properties
    assert https["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    assert https["DefaultActions"] == [{"Type": "forward", "TargetGroupArn": "<TargetGroup>"}]
    assert stacks.stacks[0].outputs["McpEndpoint"].value == "https://<LoadBalancer.DNSName>/mcp"


def test_without_a_certificate_http_serves(stacks: Stacks) -> None:
    assert _one(stacks, "HttpListener").properties["DefaultActions"][0]["Type"] == "forward"
    assert len(stacks.of_type("AWS::ElasticLoadBalancingV2::Listener")) == 1


@pytest.mark.parametrize(("multi_az", "nodes"), [("true", 2), ("false", 1)])
def test_redis_is_encrypted_and_asks_for_its_token(multi_az: str, nodes: int) -> None:
    redis = _one(resolve_stacks([INFRASTRUCTURE], {"RedisMultiAz": multi_az}), "Redis").properties
    assert redis["TransitEncryptionEnabled"] is True
    assert redis["AtRestEncryptionEnabled"] is True
    assert redis["AuthToken"] == "{{resolve:secretsmanager:<RedisAuthToken>}}"
    assert redis["NumCacheClusters"] == nodes
    assert redis["MultiAZEnabled"] is redis["AutomaticFailoverEnabled"] is (nodes == 2)


def test_the_redis_url_is_a_secret_and_nowhere_else(stacks: Stacks) -> None:
    url = _one(stacks, "RedisUrl").properties["SecretString"]
    assert url.startswith("rediss://:{{resolve:secretsmanager:<RedisAuthToken>}}@<Redis.PrimaryEndPoint.Address>:")
    (container,) = _one(stacks, "TaskDefinition").properties["ContainerDefinitions"]
    secrets = {each["Name"]: each["ValueFrom"] for each in container["Secrets"]}
    assert secrets == {"MCP_REQUEST_STATE_KEY": "<RequestStateKey>", "REDIS_URL": "<RedisUrl>"}
    assert not secrets.keys() & {variable["Name"] for variable in container["Environment"]}


def test_the_key_of_request_states_is_made_by_aws_and_long_enough(stacks: Stacks) -> None:
    made = _one(stacks, "RequestStateKey").properties["GenerateSecretString"]
    key = "k" * made["PasswordLength"]
    assert Settings.from_environment({"MCP_REQUEST_STATE_KEY": key}).request_state_key == key.encode()


@pytest.mark.parametrize("sessions", ["sdk", "durable", "resilient"])
@pytest.mark.parametrize("stateless", ["true", "false"])
@pytest.mark.parametrize("minted", ["true", "false"])
def test_the_server_knows_each_choice_of_sessions(sessions: str, stateless: str, minted: str) -> None:
    parameters = {"Sessions": sessions, "StatelessHttp": stateless, "MintSessionId": minted}
    (container,) = _one(resolve_stacks([INFRASTRUCTURE, ECS], parameters), "TaskDefinition").properties[
        "ContainerDefinitions"
    ]
    environment = {each["Name"]: str(each["Value"]) for each in container["Environment"]}
    is_sensible = (sessions == "sdk" or stateless == "false") and (minted == "false" or stateless == "true")
    with nullcontext() if is_sensible else pytest.raises(SettingsError, match="MCP_STATELESS_HTTP"):
        settings = Settings.from_environment({**environment, "REDIS_URL": "redis://redis"})
        assert (settings.sessions, settings.stateless_http, settings.mint_session_id) == (
            sessions,
            stateless == "true",
            minted == "true",
        )


def _statements(role: Resource) -> list[dict[str, Any]]:
    policies = role.properties.get("Policies", [])
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def test_roles_may_do_the_least(stacks: Stacks) -> None:
    granted = {each["Sid"]: each["Resource"] for each in _statements(_one(stacks, "ExecutionRole"))}
    assert granted == {
        "Login": "*",
        "Pull": "<Repository.Arn>",
        "Log": "<ServerLogGroup.Arn>",
        "Secret": "<RedisUrl>",
        "RequestStateKey": "<RequestStateKey>",
    }
    assert _statements(_one(stacks, "TaskRole")) == []
    (trust,) = _one(stacks, "TaskRole").properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_sessions_in_memory_need_no_redis_url() -> None:
    stacks = resolve_stacks([INFRASTRUCTURE, ECS], {"SessionStore": "memory"})
    (container,) = _one(stacks, "TaskDefinition").properties["ContainerDefinitions"]
    assert [each["Name"] for each in container["Secrets"]] == ["MCP_REQUEST_STATE_KEY"]
    assert "Secret" not in [each["Sid"] for each in _statements(_one(stacks, "ExecutionRole"))]


def test_the_container_is_locked_down_and_stops_after_its_own_grace(stacks: Stacks) -> None:
    (container,) = _one(stacks, "TaskDefinition").properties["ContainerDefinitions"]
    environment = {each["Name"]: str(each["Value"]) for each in container["Environment"]}
    assert container["ReadonlyRootFilesystem"] is True
    assert container["User"] == "10001:10001"
    assert container["HealthCheck"]["Command"] == ["CMD", "python", "-m", "server.healthcheck"]
    assert container["StopTimeout"] > int(environment["SHUTDOWN_GRACE_SECONDS"])
    attributes = {
        each["Key"]: each["Value"] for each in _one(stacks, "LoadBalancer").properties["LoadBalancerAttributes"]
    }
    assert int(environment["KEEP_ALIVE_SECONDS"]) > attributes["idle_timeout.timeout_seconds"]
    assert environment["APP_VERSION"] == container["Image"].rpartition(":")[2]
    assert {name: environment[name] for name in ("HOST", "PORT", "MCP_STATELESS_HTTP", "SESSION_TTL_SECONDS")} == {
        "HOST": "0.0.0.0",
        "PORT": "8000",
        "MCP_STATELESS_HTTP": "true",
        "SESSION_TTL_SECONDS": "86400",
    }


def test_images_are_scanned_immutable_and_few(stacks: Stacks) -> None:
    repository = _one(stacks, "Repository").properties
    assert repository["RepositoryName"] == "mcp-fargate-server"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert '"countNumber": 20' in repository["LifecyclePolicy"]["LifecyclePolicyText"]


def test_logs_are_kept_for_a_while(stacks: Stacks) -> None:
    assert [group.properties["RetentionInDays"] for group in stacks.of_type("AWS::Logs::LogGroup")] == [30, 30]


@pytest.mark.parametrize("path", [INFRASTRUCTURE, ECS], ids=lambda path: path.name)
def test_nothing_names_a_region(path: Path) -> None:
    assert not re.search(r"\b[a-z]{2}-[a-z]+-\d\b", path.read_text())


def test_every_import_is_exported_under_another_stacks_name() -> None:
    stacks = resolve_stacks([INFRASTRUCTURE, ECS], {"InfrastructureStackName": "blue-net"})
    assert _one(stacks, "Service").properties["LoadBalancers"][0]["TargetGroupArn"] == "<TargetGroup>"
