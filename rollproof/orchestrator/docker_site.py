"""Where the parts of the Compose project are, as docker-compose.yml tells the orchestrator's container.

DOCKER_HOST            the socket proxy                        unix:///gate/docker.sock
ROLLPROOF_PROJECT      the Compose project's name
ROLLPROOF_NETWORK      its network, by the Engine's name
ROLLPROOF_IMAGE        what tasks are made of                  rollproof-server
ROLLPROOF_TASK_USER    uid:gid of the tasks                    10001:10001
ROLLPROOF_ALB          the load balancer, as clients reach it  lb:8080
ROLLPROOF_BALANCER     nginx or embedded                       nginx
ROLLPROOF_LB_DIR       control.sock and access.log of it       /lb
ROLLPROOF_ENDPOINT     this container, as tasks reach it       orchestrator
REDIS_URL              what tasks get as theirs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.orchestrator.runtimes.docker_container import ComposeProject
from rollproof.orchestrator.runtimes.docker_endpoint import PORT


@dataclass(frozen=True)
class DockerSite:
    """Names and paths; nothing of it changes while the project is up."""

    engine: str
    project: ComposeProject
    image: str
    alb: tuple[str, int]
    balancer: str
    balancer_dir: Path
    endpoint: tuple[str, int, str]  # where to listen, and the name that tasks know
    redis_url: str

    @property
    def control(self) -> Path:
        return self.balancer_dir / "control.sock"

    @property
    def access_log(self) -> Path:
        return self.balancer_dir / "access.log"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> DockerSite:
        """Raises UsageError for what is missing."""

        def read(name: str, default: str = "") -> str:
            value = environment.get(name) or default
            if not value:
                raise UsageError(
                    f"{name} is not set", hint="the docker stage is set by docker-compose.yml: docker compose up -d"
                )
            return value

        host, _, port = read("ROLLPROOF_ALB", "lb:8080").rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"ROLLPROOF_ALB={environment['ROLLPROOF_ALB']} is not HOST:PORT")
        return cls(
            engine=read("DOCKER_HOST"),
            project=ComposeProject(
                read("ROLLPROOF_PROJECT"), read("ROLLPROOF_NETWORK"), user=read("ROLLPROOF_TASK_USER", "10001:10001")
            ),
            image=read("ROLLPROOF_IMAGE", "rollproof-server"),
            alb=(host, int(port)),
            balancer=read("ROLLPROOF_BALANCER", "nginx"),
            balancer_dir=Path(read("ROLLPROOF_LB_DIR", "/lb")),
            endpoint=("0.0.0.0", PORT, read("ROLLPROOF_ENDPOINT", "orchestrator")),  # noqa: S104 - never published
            redis_url=read("REDIS_URL"),
        )
