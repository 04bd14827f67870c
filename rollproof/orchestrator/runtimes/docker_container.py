"""A task as a container: what the Engine is asked for, and what its answers mean. Pure.

The container is as Fargate would run it: the definition's CPU and memory as hard limits, an address of its
own, no privilege. And it carries the labels of a Compose service, so that `docker compose ps`, `logs` and
`down` treat it as one of theirs.

    Fargate                          here
    --------------------------------------------------------------------------------------------------
    CPU units, MiB of the task       NanoCpus, Memory without swap
    an ENI with its own address      a fixed address of the project's network (docker_addresses.py)
    readonlyRootFilesystem, user     ReadonlyRootfs, User, a /tmp in memory, no capability, no new privilege
    healthCheck                      Healthcheck; without one the image's HEALTHCHECK is off: ECS ignores it
                                     (ECS-DG/healthcheck)
    the log driver                   json-file, copied to the task's log file as it grows (docker_logs.py)

Differs from AWS: the file system is read-only and the capabilities are gone whether or not the definition says
so: what passes here passes there. A task cannot have more CPUs than this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.ports import TaskSpec

Json = dict[str, Any]

TASK_ID = "rollproof.task-id"
ADDRESS = "rollproof.address"
TMPFS = "rw,noexec,nosuid,nodev,size=67108864,mode=1777"
PIDS_LIMIT = 512
LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}}
OUT_OF_MEMORY = "OutOfMemoryError: container killed due to memory usage"  # O12
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time

_NS = 1_000_000_000


@dataclass(frozen=True)
class ComposeProject:
    """The Compose project that the tasks belong to. `service` is the one that they show up as."""

    name: str
    network: str
    service: str = "server"
    user: str = "10001:10001"  # as aws/ecs.yaml has it

    @property
    def labels(self) -> dict[str, str]:
        """What every task container carries, and what a list of them is filtered by."""
        return {"com.docker.compose.project": self.name, "com.docker.compose.service": self.service}

    def container_name(self, task_id: str) -> str:
        """
        >>> ComposeProject("demo", "demo_default").container_name("0123456789abcdef0123456789abcdef")
        'demo-server-0123456789ab'
        """
        return f"{self.name}-{self.service}-{task_id[:12]}"


@dataclass(frozen=True)
class DockerImage:
    """What an image name of a task definition stands for on this machine.

    `has_init`: an init is PID 1 (`initProcessEnabled`), so that a signal which the program has no handler for takes
    its default action. Without one it is ignored, as PID 1 ignores it.
    """

    reference: str
    has_init: bool = False


def container_config(
    spec: TaskSpec, project: ComposeProject, image: DockerImage, address: str, injected: Mapping[str, str], cpus: int
) -> Json:
    """The body of POST /containers/create. `address` is host:port, `cpus` are this machine's.

    Raises UsageError for a health check that ECS would not register.
    """
    definition = spec.definition
    config: Json = {
        "Image": image.reference,
        "Env": [f"{name}={value}" for name, value in {**spec.environment, **injected}.items()],
        "User": project.user,
        "StopSignal": definition.stop_signal,
        "Healthcheck": docker_health_check(definition.health_check),
        "Labels": _labels(spec, project, address),
        "HostConfig": _host_config(definition, project.network, cpus) | {"Init": image.has_init},
        "NetworkingConfig": {
            "EndpointsConfig": {project.network: {"IPAMConfig": {"IPv4Address": address.rpartition(":")[0]}}}
        },
    }
    if definition.command:
        config["Cmd"] = list(definition.command)
    return config


def _labels(spec: TaskSpec, project: ComposeProject, address: str) -> dict[str, str]:
    definition = spec.definition
    digest = hashlib.sha256(f"{definition.name} {definition.image} {definition.command}".encode()).hexdigest()
    return {
        **project.labels,
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.container-number": str(int(spec.task_id[:6], 16) + 1),  # Compose wants any number
        "com.docker.compose.config-hash": digest,
        TASK_ID: spec.task_id,
        ADDRESS: address,
        "com.amazonaws.ecs.cluster": spec.cluster_arn,
        "com.amazonaws.ecs.container-name": definition.container,
        "com.amazonaws.ecs.task-arn": spec.task_arn,
        "com.amazonaws.ecs.task-definition-family": definition.family,
        "com.amazonaws.ecs.task-definition-version": str(definition.revision),
    }


def _host_config(definition: TaskDefinition, network: str, cpus: int) -> Json:
    memory = definition.memory_mib * 1024 * 1024
    return {
        "NetworkMode": network,
        "Memory": memory,
        "MemorySwap": memory,  # Fargate has no swap
        "NanoCpus": min(definition.cpu * _NS // 1024, cpus * _NS),
        "PidsLimit": PIDS_LIMIT,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": TMPFS},  # noqa: S108 - the container's own
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "LogConfig": LOG_CONFIG,
    }


def docker_health_check(check: ContainerHealthCheck | None) -> Json:
    """The definition's `healthCheck` in the Engine's words. API-ECS HealthCheck. Raises UsageError on another form."""
    if check is None or check.command == ("NONE",):
        return {"Test": ["NONE"]}
    form, *arguments = check.command
    if form not in ("CMD", "CMD-SHELL") or not arguments:
        raise UsageError(
            f"healthCheck command {list(check.command)} starts with neither CMD nor CMD-SHELL",
            hint='write ["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"]',
        )
    return {
        "Test": list(check.command),
        "Interval": round(check.interval_s * _NS),
        "Timeout": round(check.timeout_s * _NS),
        "Retries": check.retries,
        "StartPeriod": round(check.start_period_s * _NS),
    }


@dataclass(frozen=True)
class ContainerState:
    """What an inspection says, as far as it matters. Points in time are UNIX times."""

    task_id: str
    address: str
    status: str  # created, running, paused, restarting, removing, exited, dead
    started_at: float | None
    finished_at: float | None
    exit_code: int
    is_out_of_memory: bool
    error: str
    health: str  # "", starting, healthy, unhealthy
    health_log: tuple[Json, ...] = ()

    @property
    def has_started(self) -> bool:
        return self.started_at is not None

    @property
    def has_exited(self) -> bool:
        return self.has_started and self.status in ("exited", "dead")

    @property
    def exit_reason(self) -> str:
        return OUT_OF_MEMORY if self.is_out_of_memory else ""


def container_state(inspection: Mapping[str, Any]) -> ContainerState | None:
    """GET /containers/{name}/json; None for a container that is no task."""
    labels, state = inspection["Config"].get("Labels") or {}, inspection["State"]
    if TASK_ID not in labels:
        return None
    health = state.get("Health") or {}
    return ContainerState(
        task_id=labels[TASK_ID],
        address=labels.get(ADDRESS, ""),
        status=state["Status"],
        started_at=unix_time(state.get("StartedAt", NEVER)),
        finished_at=unix_time(state.get("FinishedAt", NEVER)),
        exit_code=int(state.get("ExitCode", 0)),
        is_out_of_memory=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        health="" if health.get("Status") == "none" else health.get("Status", ""),
        health_log=tuple(health.get("Log") or ()),
    )


def unix_time(text: str) -> float | None:
    """Go's RFC 3339 with nanoseconds; None for its zero time.

    >>> unix_time("2026-11-21T02:43:16.664123456Z")
    1795228996.664123
    """
    if not text or text == NEVER:
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00").timestamp()


_RUNC = re.compile(r"failed to create shim task: .*", re.DOTALL)


def start_refused(explanation: str) -> str:
    """Why the Engine could not start it, in ECS's words: its text is the container runtime's, as Fargate's is.

    >>> start_refused('failed to create task for container: failed to create shim task: OCI runtime create failed: x')
    'CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: \
failed to create shim task: OCI runtime create failed: x'
    """
    found = _RUNC.search(explanation)
    if found is None:
        return f"CannotStartContainerError: Error response from daemon: {explanation}"
    cause = "ResourceInitializationError: failed to create new container runtime task"
    return f"CannotStartContainerError: {cause}: {found[0]}"


def create_refused(explanation: str) -> str:
    return f"CannotCreateContainerError: Error response from daemon: {explanation}"


def is_address_taken(explanation: str) -> bool:
    return "Address already in use" in explanation


def label_filters(project: ComposeProject) -> dict[str, list[str]]:
    """`filters` of a list or of the events: this project's tasks and nothing else."""
    return {"label": [f"{name}={value}" for name, value in sorted(project.labels.items())]}


def encoded(filters: Mapping[str, list[str]]) -> str:
    return json.dumps(filters, sort_keys=True)
