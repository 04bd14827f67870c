"""The metadata endpoint's fields, against the keys of AWS's own Fargate example."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.orchestrator.runtimes.metadata import (
    ContainerHealth,
    ResourceSample,
    TaskCondition,
    TaskFacts,
    container_response,
    rfc3339,
    stats_response,
    task_response,
    task_stats_response,
)

TASK_ID = "bfa2636268144d039771334145e490c5"
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/MyCluster"
FACTS = TaskFacts(
    task_id=TASK_ID,
    task_arn=f"arn:aws:ecs:us-east-1:123456789012:task/MyCluster/{TASK_ID}",
    cluster_arn=CLUSTER,
    service="mcp-service",
    availability_zone="us-east-1d",
    family="sample-fargate",
    revision=5,
    container="app",
    container_arn=f"arn:aws:ecs:us-east-1:123456789012:container/MyCluster/{TASK_ID}/f65b461d-aa09",
    container_port=8000,
    docker_id=f"{TASK_ID}-1117626119",
    image="public.ecr.aws/docker/library/httpd:latest",
    image_id="sha256:8059bdd0",
    cpu=256,
    memory_mib=512,
    created_at=1689954333.532811,
    extra={"AvailabilityZoneID": "use1-az4", "TaskTags": {"team": "mcp"}},
)
RUNNING = TaskCondition(started_at=1689954344.95446)

# ECS-DG/task-metadata-endpoint-v4, examples for Fargate. Not served here: DomainNameServers, DomainNameSearchList
# and ClockErrorBound, which the agent leaves out when it has no value.
EXAMPLE_TASK_KEYS = {
    *("Cluster", "TaskARN", "Family", "Revision", "DesiredStatus", "KnownStatus", "Limits", "PullStartedAt"),
    *("PullStoppedAt", "AvailabilityZone", "LaunchType", "Containers", "ClockDrift", "EphemeralStorageMetrics"),
}
EXAMPLE_CONTAINER_KEYS = {
    *("DockerId", "Name", "DockerName", "Image", "ImageID", "Labels", "DesiredStatus", "KnownStatus", "Limits"),
    *("CreatedAt", "StartedAt", "Type", "Networks", "ContainerARN", "Snapshotter"),
}
EXAMPLE_NETWORK_KEYS = {
    *("NetworkMode", "IPv4Addresses", "AttachmentIndex", "MACAddress", "IPv4SubnetCIDRBlock", "PrivateDNSName"),
    "SubnetGatewayIpv4Address",
}


@pytest.mark.parametrize(
    ("unix_time", "text"),
    [
        (1689954333.532811, "2023-07-21T15:45:33.532811Z"),
        (1689954333.5, "2023-07-21T15:45:33.5Z"),
        (1689954333.0, "2023-07-21T15:45:33Z"),
        (1689954329.9999998, "2023-07-21T15:45:30Z"),
    ],
)
def test_times_are_printed_as_go_prints_them(unix_time: float, text: str) -> None:
    assert rfc3339(unix_time) == text


@pytest.mark.fidelity("ECS-META-2", source="ECS-DG/task-metadata-endpoint-v4", mark="doc")
def test_a_task_has_every_field_of_the_documented_example() -> None:
    task = task_response(FACTS, RUNNING, now=1689955757.0)
    container = task["Containers"][0]
    assert task.keys() >= EXAMPLE_TASK_KEYS
    assert container.keys() >= EXAMPLE_CONTAINER_KEYS
    assert container["Networks"][0].keys() >= EXAMPLE_NETWORK_KEYS
    assert task["EphemeralStorageMetrics"].keys() == {"Utilized", "Reserved"}
    assert task["ClockDrift"]["ReferenceTimestamp"] == "2023-07-21T16:09:17Z"


@pytest.mark.fidelity("ECS-META-2", source="ECS-DG/task-metadata-endpoint-v4", mark="doc")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Cluster", CLUSTER),
        ("Revision", "5"),
        ("Limits.CPU", 0.25),
        ("Limits.Memory", 512),
        ("PullStartedAt", "2023-07-21T15:45:33.532811Z"),
        ("LaunchType", "FARGATE"),
        ("ServiceName", "mcp-service"),
        ("Group", "service:mcp-service"),
        ("FaultInjectionEnabled", False),
        ("AvailabilityZoneID", "use1-az4"),
        ("Containers.0.DockerId", f"{TASK_ID}-1117626119"),
        ("Containers.0.StartedAt", "2023-07-21T15:45:44.95446Z"),
        ("Containers.0.Type", "NORMAL"),
        ("Containers.0.Limits.CPU", 2),
    ],
)
def test_values_stand_where_aws_puts_them(path: str, value: object) -> None:
    found: Any = task_response(FACTS, RUNNING, now=0.0)
    for step in path.split("."):
        found = found[int(step)] if step.isdigit() else found[step]
    assert found == value


@pytest.mark.fidelity("ECS-META-4", "TRAP-9")
def test_a_task_learns_of_its_end_only_with_the_stop_signal() -> None:
    """Nothing in a TaskCondition could say DEACTIVATING; the signal sets STOPPED and ExecutionStoppedAt."""
    assert task_response(FACTS, RUNNING, 0.0)["DesiredStatus"] == "RUNNING"
    assert "ExecutionStoppedAt" not in task_response(FACTS, RUNNING, 0.0)
    told = RUNNING._replace(desired_status="STOPPED", execution_stopped_at=1689954400.0)
    task = task_response(FACTS, told, 0.0)
    assert (task["DesiredStatus"], task["KnownStatus"]) == ("STOPPED", "RUNNING")
    assert task["ExecutionStoppedAt"] == "2023-07-21T15:46:40Z"
    assert task["Containers"][0]["DesiredStatus"] == "STOPPED"


def test_tags_show_only_where_asked_for() -> None:
    assert "TaskTags" not in task_response(FACTS, RUNNING, 0.0)
    assert task_response(FACTS, RUNNING, 0.0, with_tags=True)["TaskTags"] == {"team": "mcp"}


def test_a_task_of_no_service_belongs_to_its_family() -> None:
    task = task_response(FACTS._replace(service=""), RUNNING, 0.0)
    assert task["Group"] == "family:sample-fargate"
    assert "ServiceName" not in task


def test_health_shows_only_where_there_is_a_health_check() -> None:
    assert "Health" not in container_response(FACTS, RUNNING)
    unknown = RUNNING._replace(health=ContainerHealth("UNKNOWN", 1689954344.0))
    assert container_response(FACTS, unknown)["Health"] == {"status": "UNKNOWN", "statusSince": "2023-07-21T15:45:44Z"}
    failed = RUNNING._replace(health=ContainerHealth("UNHEALTHY", 1689954344.0, 7, "no"))
    health = container_response(FACTS, failed)["Health"]
    assert (health["status"], health["exitCode"], health["output"]) == ("UNHEALTHY", 7, "no")


def test_stats_have_dockers_fields_and_the_sample_before() -> None:
    first = ResourceSample(1689954344.0, 30, 12, 4096, 2, 1_000, 8)
    second = first._replace(at=1689954345.0, cpu_user_ns=50)
    alone = stats_response(FACTS, first, None)
    assert alone is not None
    assert (alone["preread"], alone["precpu_stats"]) == ("0001-01-01T00:00:00Z", {})
    stats = task_stats_response(FACTS, second, first)[FACTS.docker_id]
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] == 62
    assert stats["precpu_stats"]["cpu_usage"]["total_usage"] == 42
    assert stats["memory_stats"]["usage"] == 4096
    assert stats["memory_stats"]["limit"] == 512 * 1024 * 1024
    assert (stats["preread"], stats["read"]) == ("2023-07-21T15:45:44Z", "2023-07-21T15:45:45Z")
    assert stats["pids_stats"] == {"current": 2}


def test_stats_are_null_where_the_machine_cannot_be_measured() -> None:
    assert task_stats_response(FACTS, None, None) == {FACTS.docker_id: None}
