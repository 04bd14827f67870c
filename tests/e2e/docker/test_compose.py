"""The whole Compose project: up, a rehearsal that passes, one that fails, a kill, and nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.docker.engine import docker, run

DEADLINE_S = 150.0
QUICK = ("--sessions", "6", "--delay", "0.5", "--json")


@dataclass
class Compose:
    """A project of its own, beside whatever else runs on this machine."""

    project: str
    files: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        files = [word for name in self.files for word in ("--file", name)]
        return run("compose", "--project-name", self.project, *files, *arguments, timeout=timeout,
                   environment=self.environment)  # fmt: skip

    def done(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr[-3000:] + self("logs", "--tail", "30").stdout[-6000:]
        return done.stdout

    def rehearse(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and summary."""
        done = self("run", "--rm", "-T", "client", "rehearse", *QUICK, *arguments)
        assert done.stdout, done.stderr[-3000:]
        return done.returncode, json.loads(done.stdout)

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.done("run", "--rm", "-T", "client", *arguments, "--json"))

    def left(self) -> list[str]:
        """Everything of the project that the Engine still has."""
        label = f"label=com.docker.compose.project={self.project}"
        return [
            *docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split(),
            *docker("network", "ls", "--format", "{{.Name}}", "--filter", label).split(),
            *docker("volume", "ls", "--format", "{{.Name}}", "--filter", label).split(),
        ]


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """Up, with nginx; with ROLLPROOF_TEST_BALANCER=embedded, with the embedded balancer."""
    is_embedded = os.environ.get("ROLLPROOF_TEST_BALANCER") == "embedded"
    files = ("docker-compose.yml", *(["compose/embedded-balancer.yml"] if is_embedded else []))
    environment = {
        "NGINX_VERSION": os.environ.get("NGINX_VERSION") or _nginx_here() or "1.30",
        "ROLLPROOF_PORT": "0",
        "ROLLPROOF_SPEED": "10",
        "ROLLPROOF_SUBNET": "10.213.251.0/24",
        "ROLLPROOF_IP_RANGE": "10.213.251.0/26",
    }
    compose = Compose(f"rollproof-test-{uuid.uuid4().hex[:6]}", files, environment)
    try:
        compose.done("--profile", "client", "build")
        compose.done("up", "--detach", "--wait")
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--remove-orphans")
        left = compose.left()
    assert left == []


def _nginx_here() -> str:
    """The version of an official image that is here already: a machine may have no registry."""
    tags = docker("images", "nginx", "--format", "{{.Tag}}").split()
    return max((tag for tag in tags if tag.replace(".", "").isdigit()), default="")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"


def test_the_sample_survives_its_rollout(compose: Compose) -> None:
    code, summary = compose.rehearse()
    assert code == 0, summary
    assert summary["verdict"] == "pass"
    assert len(compose.done("ps", "--format", "{{.Name}}", "server").split()) == 2


def test_sessions_in_memory_do_not(compose: Compose) -> None:
    """As a what-if of the client; compose/memory.yml sets the same."""
    code, summary = compose.rehearse("--strategy", "memory", "--speed", "10")
    assert code == 1, summary
    assert summary["verdict"] == "fail"


def test_a_killed_orchestrator_takes_over_what_it_left(compose: Compose) -> None:
    before = {task["task_id"] for task in compose.ask("status")["tasks"] if task["known"] == "RUNNING"}
    with ThreadPoolExecutor(1) as background:
        rehearsal = background.submit(compose.rehearse, "--disruption", "stop-task")
        wait_until(lambda: "draining" in compose("logs", "orchestrator").stdout or _drains(compose), "draining")
        docker("kill", f"{compose.project}-orchestrator-1")
        compose.done("up", "--detach", "--wait")
        code, summary = rehearsal.result()
    assert code in (0, 1), summary
    assert "took over the stage" in compose("logs", "orchestrator").stdout
    after = compose.ask("status")
    running = {task["task_id"] for task in after["tasks"] if task["known"] == "RUNNING"}
    assert len(running & before) == 1  # one was stopped, one is still the same
    assert after["is_steady"]


def _drains(compose: Compose) -> bool:
    return any(target["state"] == "draining" for target in compose.ask("status")["targets"])


def test_the_orchestrator_cannot_do_more_with_docker_than_it_needs(compose: Compose) -> None:
    calls = """
import docker, os
client = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
for call in (
    lambda: client.info(),
    lambda: client.containers(all=True),
    lambda: client.exec_create("PROJECT-redis-1", "id"),
    lambda: client.remove_container("PROJECT-redis-1", force=True),
    lambda: client.create_container("redis:8.0", host_config=client.create_host_config(privileged=True)),
    lambda: client.pull("alpine"),
):
    try:
        call()
        print("allowed")
    except docker.errors.APIError as error:
        print(error.response.status_code)
""".replace("PROJECT", compose.project)
    said = compose.done("exec", "-T", "orchestrator", "python", "-c", calls)
    assert said.split() == ["403"] * 6
    log = compose("logs", "--no-log-prefix", "socket-proxy").stdout
    assert "/info: not on the list of calls" in log
    assert log.count("refused ") >= 6


def test_every_container_runs_without_privilege(compose: Compose) -> None:
    names = docker("ps", "--format", "{{.Names}}", "--filter", f"label=com.docker.compose.project={compose.project}")
    found = json.loads(docker("inspect", *names.split()))
    assert len(found) == 6
    for container in found:
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], container["Name"]
        assert not host["Privileged"], container["Name"]
        assert host["CapDrop"] == ["ALL"], container["Name"]
        assert "no-new-privileges:true" in host["SecurityOpt"], container["Name"]
        if "socket-proxy" not in container["Name"]:
            assert container["Config"]["User"] == "10001:10001", container["Name"]
            assert not any("docker.sock" in str(mount.get("Source")) for mount in container["Mounts"])


def test_only_the_load_balancer_is_published_and_on_loopback_only(compose: Compose) -> None:
    names = docker("ps", "--format", "{{.Names}}", "--filter", f"label=com.docker.compose.project={compose.project}")
    published = {}
    for container in json.loads(docker("inspect", *names.split())):
        ports = [binding for bound in container["NetworkSettings"]["Ports"].values() for binding in bound or ()]
        if ports:
            published[container["Name"]] = {port["HostIp"] for port in ports}
    assert published == {f"/{compose.project}-lb-1": {"127.0.0.1"}}


def test_down_leaves_nothing_even_of_a_killed_orchestrator(compose: Compose) -> None:
    docker("kill", f"{compose.project}-orchestrator-1")
    compose.done("down", "--volumes")
    assert compose.left() == []
