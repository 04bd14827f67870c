"""From a TaskSpec to what is executed: command, environment, facts. Pure but for reading our own environment.

The local stage has no images: each image name stands for a command (`ImageSpec`). What a container would
bring along, and where this differs from it:

- Environment: the image's, then the definition's, then what ECS injects. Of ours only PATH (our interpreter
  first, so that `python` is the one that has the server installed), HOME, LANG, LC_*, TZ and PYTHON* go in: no
  credentials, no proxy settings. HOME would lead an AWS SDK to the developer's own credentials, so its files
  are named as empty; a task that is to have some says so in its definition.
- Port. Differs from AWS: tasks share one network namespace, so each gets a port of its own in PORT.
  `{port}`, `$PORT` and `${PORT}` in command arguments become that number, and in a health check command
  localhost:<containerPort> means it, too.
- CPU and memory. Differs from AWS: not limited. An address-space limit kills runtimes that only reserve
  memory, and nothing else is portable.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.core.settings import ContainerHealthCheck
from rollproof.orchestrator.ports import TaskSpec
from rollproof.orchestrator.runtimes.container_health import HealthCheckSettings
from rollproof.orchestrator.runtimes.metadata import TaskFacts
from rollproof.orchestrator.runtimes.start_failures import pull_failure
from rollproof.orchestrator.runtimes.task_agent import Launch

INHERITED = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|PYTHON\w*")
NO_CREDENTIALS = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull}


@dataclass(frozen=True)
class ImageSpec:
    """What an image name stands for on this machine.

    `has_init`: an init is PID 1 (tini, or `initProcessEnabled`), so that a signal which the program has
    no handler for takes its default action. Without one it is ignored, as PID 1 ignores it.
    """

    command: tuple[str, ...]
    working_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    has_init: bool = False
    app: str = ""  # for the in-process stage: module:attribute of an application, or of what makes one


def refusal(spec: TaskSpec, image: ImageSpec | None) -> str:
    """Why this task cannot be started at all, in ECS's words; "" if it can be tried."""
    if image is None:
        return pull_failure(spec.definition.image)
    if not spec.definition.command and not image.command:
        return "CannotCreateContainerError: Error response from daemon: no command specified"
    return ""


def plan_launch(spec: TaskSpec, image: ImageSpec, port: int, tmp: Path, speed: float) -> Launch:
    """How to start this task on that port, if there is no `refusal`."""
    command = spec.definition.command or image.command
    return Launch(
        argv=[with_port(argument, port) for argument in command],
        environment=task_environment(spec, image, port, tmp),
        working_directory=str(image.working_directory),
        log_path=str(spec.log_path.absolute()),
        stop_signal=spec.definition.stop_signal,
        has_init=image.has_init,
        health_check=plan_health_check(spec.definition.health_check, spec.definition.container_port, port),
        speed=speed,
    )


def task_environment(
    spec: TaskSpec, image: ImageSpec, port: int, tmp: Path, ours: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """All but the endpoint URIs, which the task agent adds."""
    inherited = {name: value for name, value in ours.items() if INHERITED.fullmatch(name)}
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), inherited.get("PATH", os.defpath))))
    region = spec.task_arn.split(":")[3] if spec.task_arn.count(":") >= 5 else ""
    injected = {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "TMPDIR": str(tmp),
        "PORT": str(port),
    }
    return {**inherited, **NO_CREDENTIALS, "PATH": path, **image.environment, **spec.environment, **injected}


def plan_health_check(check: ContainerHealthCheck | None, container_port: int, port: int) -> list[object] | None:
    """The definition's `healthCheck`, ready to exec. API-ECS HealthCheck. Raises UsageError on an unknown form."""
    if check is None or check.command == ("NONE",):
        return None
    form, *arguments = check.command
    if form not in ("CMD", "CMD-SHELL") or not arguments:
        raise UsageError(
            f"healthCheck command {list(check.command)} starts with neither CMD nor CMD-SHELL",
            hint='write ["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"]',
        )
    arguments = [at_own_port(with_port(argument, port), container_port, port) for argument in arguments]
    command = ("/bin/sh", "-c", " ".join(arguments)) if form == "CMD-SHELL" else tuple(arguments)
    return list(HealthCheckSettings(command, check.interval_s, check.timeout_s, check.retries, check.start_period_s))


def with_port(argument: str, port: int) -> str:
    """
    >>> with_port("--port={port} --bind=0.0.0.0:$PORT $PORTAL", 20001)
    '--port=20001 --bind=0.0.0.0:20001 $PORTAL'
    """
    return re.sub(r"\{port\}|\$\{PORT\}|\$PORT\b", str(port), argument)


def at_own_port(argument: str, container_port: int, port: int) -> str:
    """
    >>> at_own_port("curl -f http://localhost:8000/health", 8000, 20001)
    'curl -f http://127.0.0.1:20001/health'
    """
    return re.sub(
        rf"(?<![\w.])(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\]):{container_port}\b", f"127.0.0.1:{port}", argument
    )


def task_facts(spec: TaskSpec, created_at: float) -> TaskFacts:
    """What the metadata endpoint tells. Ids that AWS draws at random are derived from the task's own."""
    definition, digest = spec.definition, hashlib.sha256(spec.definition.image.encode()).hexdigest()
    serial = zlib.crc32(spec.task_id.encode()) + 1_000_000_000
    container_id = hashlib.sha256(f"{spec.task_id}/{definition.container}".encode()).hexdigest()
    uuid = "-".join(
        (container_id[:8], container_id[8:12], container_id[12:16], container_id[16:20], container_id[20:32])
    )
    return TaskFacts(
        task_id=spec.task_id,
        task_arn=spec.task_arn,
        cluster_arn=spec.cluster_arn,
        service=spec.service,
        availability_zone=spec.availability_zone,
        family=definition.family,
        revision=definition.revision,
        container=definition.container,
        container_arn=f"{spec.task_arn.replace(':task/', ':container/', 1)}/{uuid}",
        container_port=definition.container_port,
        docker_id=f"{spec.task_id}-{serial:010d}",
        image=definition.image,
        image_id=f"sha256:{digest}",
        cpu=definition.cpu,
        memory_mib=definition.memory_mib,
        created_at=created_at,
        extra=dict(spec.metadata),
    )
