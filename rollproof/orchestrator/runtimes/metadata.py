"""The task metadata endpoint v4: AWS's field names from values. Pure.

Source: ECS-DG/task-metadata-endpoint-v4, its Fargate examples, and the field tags of AGENT's
tmds/handlers/v4/state/response.go (docs/fidelity.md, ECS-META). A field without a value is left out, as the
agent leaves it out.

What a task can learn here is deliberate: DesiredStatus stays RUNNING all through deregistration and
draining, because those are states of the control plane; it turns STOPPED together with the stop signal.

Differs from AWS: every task has the address 127.0.0.1 and a port of its own, so `Networks` describes the
loopback; ClockDrift says NOT_SYNCHRONIZED because nothing measures it; `network_rate_stats` is absent, as it
is on AWS until there are two samples. Imports the standard library only: every task agent loads this module.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

FARGATE_EPHEMERAL_STORAGE_MIB = 20_496  # "Reserved" of a task with the default 20 GiB. ECS-DG example
FARGATE_CONTAINER_SHARES = 2  # Limits.CPU of a container without a cpu of its own. ECS-DG example
TAG_FIELDS = ("TaskTags", "ContainerInstanceTags")

Json = dict[str, Any]


class TaskFacts(NamedTuple):
    """What does not change in a task's life."""

    task_id: str
    task_arn: str
    cluster_arn: str
    service: str
    availability_zone: str
    family: str
    revision: int
    container: str
    container_arn: str
    container_port: int
    docker_id: str  # <task id>-<10 digits> on Fargate; also the id in the endpoint's URI
    image: str
    image_id: str  # sha256:...
    cpu: int  # CPU units
    memory_mib: int
    created_at: float
    extra: Json  # more top-level fields of /task; tags among them show in /taskWithTags only


class ContainerHealth(NamedTuple):
    """Latest answer of the container's health check. `status` UNKNOWN until there is one."""

    status: str
    since: float
    exit_code: int | None = None
    output: str = ""


class TaskCondition(NamedTuple):
    """What does. Points in time are UNIX times."""

    desired_status: str = "RUNNING"
    known_status: str = "RUNNING"
    started_at: float | None = None
    execution_stopped_at: float | None = None
    health: ContainerHealth | None = None
    ephemeral_storage_mib: int = 0


class ResourceSample(NamedTuple):
    """Usage of all processes of the task at one moment; CPU in nanoseconds since they started."""

    at: float
    cpu_user_ns: int
    cpu_system_ns: int
    memory_bytes: int
    processes: int
    host_cpu_ns: int
    host_cpus: int

    @property
    def cpu_s(self) -> float:
        return (self.cpu_user_ns + self.cpu_system_ns) / 1e9


def rfc3339(unix_time: float) -> str:
    """As Go prints a time.Time: the fraction without trailing zeros, none if it is zero.

    >>> rfc3339(1689954333.5)
    '2023-07-21T15:45:33.5Z'
    """
    microseconds = round(unix_time * 1e6)
    seconds, fraction = divmod(microseconds, 1_000_000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{fraction:06d}".rstrip("0").rstrip(".") + "Z"


def task_response(facts: TaskFacts, condition: TaskCondition, now: float, *, with_tags: bool = False) -> Json:
    """`/task` and `/taskWithTags`. Limits in vCPU and MiB; Revision is a string."""
    response = {
        "Cluster": facts.cluster_arn,
        "TaskARN": facts.task_arn,
        "Family": facts.family,
        "Revision": str(facts.revision),
        "DesiredStatus": condition.desired_status,
        "KnownStatus": condition.known_status,
        "Limits": {"CPU": facts.cpu / 1024, "Memory": facts.memory_mib},
        "PullStartedAt": rfc3339(facts.created_at),
        "PullStoppedAt": rfc3339(facts.created_at),
        "ExecutionStoppedAt": _time(condition.execution_stopped_at),
        "AvailabilityZone": facts.availability_zone,
        "LaunchType": "FARGATE",
        "Containers": [container_response(facts, condition)],
        "ServiceName": facts.service,
        "Group": f"service:{facts.service}" if facts.service else f"family:{facts.family}",
        "ClockDrift": {
            "ReferenceTimestamp": rfc3339(int(now)),
            "ClockSynchronizationStatus": "NOT_SYNCHRONIZED",
        },
        "EphemeralStorageMetrics": {
            "Utilized": condition.ephemeral_storage_mib,
            "Reserved": FARGATE_EPHEMERAL_STORAGE_MIB,
        },
        "FaultInjectionEnabled": False,
        **{name: value for name, value in facts.extra.items() if with_tags or name not in TAG_FIELDS},
    }
    return _present(response)


def container_response(facts: TaskFacts, condition: TaskCondition) -> Json:
    """The endpoint's root: the container that asks."""
    started_at = _time(condition.started_at)
    return _present(
        {
            "DockerId": facts.docker_id,
            "Name": facts.container,
            "DockerName": facts.container,
            "Image": facts.image,
            "ImageID": facts.image_id,
            "Labels": {
                "com.amazonaws.ecs.cluster": facts.cluster_arn,
                "com.amazonaws.ecs.container-name": facts.container,
                "com.amazonaws.ecs.task-arn": facts.task_arn,
                "com.amazonaws.ecs.task-definition-family": facts.family,
                "com.amazonaws.ecs.task-definition-version": str(facts.revision),
            },
            "DesiredStatus": condition.desired_status,
            "KnownStatus": condition.known_status,
            "Limits": {"CPU": FARGATE_CONTAINER_SHARES},
            "CreatedAt": started_at,
            "StartedAt": started_at,
            "Type": "NORMAL",
            "Health": _health(condition.health),
            "Networks": [
                {
                    "NetworkMode": "awsvpc",
                    "IPv4Addresses": ["127.0.0.1"],
                    "AttachmentIndex": 0,
                    "MACAddress": "00:00:00:00:00:00",
                    "IPv4SubnetCIDRBlock": "127.0.0.0/8",
                    "PrivateDNSName": "localhost",
                    "SubnetGatewayIpv4Address": "127.0.0.1/8",
                }
            ],
            "ContainerARN": facts.container_arn,
            "Snapshotter": "overlayfs",
        }
    )


def stats_response(facts: TaskFacts, sample: ResourceSample | None, previous: ResourceSample | None) -> Json | None:
    """`/stats`: Docker's ContainerStats. None (JSON null) where the machine cannot be measured."""
    if sample is None:
        return None
    return {
        "read": rfc3339(sample.at),
        "preread": rfc3339(previous.at) if previous else "0001-01-01T00:00:00Z",
        "pids_stats": {"current": sample.processes},
        "blkio_stats": {},
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(previous) if previous else {},
        "memory_stats": {"usage": sample.memory_bytes, "limit": facts.memory_mib * 1024 * 1024, "stats": {}},
        "name": facts.container,
        "id": facts.docker_id,
        "networks": {},
    }


def task_stats_response(facts: TaskFacts, sample: ResourceSample | None, previous: ResourceSample | None) -> Json:
    """`/task/stats`: stats by container id."""
    return {facts.docker_id: stats_response(facts, sample, previous)}


def _cpu(sample: ResourceSample) -> Json:
    return {
        "cpu_usage": {
            "total_usage": sample.cpu_user_ns + sample.cpu_system_ns,
            "usage_in_usermode": sample.cpu_user_ns,
            "usage_in_kernelmode": sample.cpu_system_ns,
        },
        "system_cpu_usage": sample.host_cpu_ns,
        "online_cpus": sample.host_cpus,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _health(health: ContainerHealth | None) -> Json | None:
    if health is None:
        return None
    return _present(
        {
            "status": health.status,
            "statusSince": rfc3339(health.since),
            "exitCode": health.exit_code,
            "output": health.output or None,
        }
    )


def _time(unix_time: float | None) -> str | None:
    return None if unix_time is None else rfc3339(unix_time)


def _present(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "")}
