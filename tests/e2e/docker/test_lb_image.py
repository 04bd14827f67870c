"""The image of lb/Dockerfile in the sandbox it is made for: not root, read-only, one capability.

Needs a Docker Engine. NGINX_VERSION says which nginx is the base (default: the Dockerfile's own).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollproof.core.errors import Temporary
from rollproof.orchestrator.balancers.nginx import NginxBalancerClient
from rollproof.orchestrator.balancers.nginx_config import Shape, shape_to_json
from rollproof.testing.balancer_play import ARN, Play, PlayFixtures
from rollproof.testing.balancer_target import TargetServer
from rollproof.testing.balancer_wire import get
from tests.load.changes import change_targets, many_targets
from tests.load.subjects import nginx_image
from tests.load.test_target_changes import CHANGES, REQUESTS, assert_all_obeyed
from tests.orchestrator.test_nginx_balancer import NginxContract, ProcessStage

ROOT = Path(__file__).resolve().parents[3]
SANDBOX = ("--read-only", "--tmpfs=/run/alb:mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def image() -> str:
    """Its id."""
    version = os.environ.get("NGINX_VERSION")
    argument = [f"--build-arg=NGINX_VERSION={version}"] if version else []
    return docker("build", "-q", "-f", str(ROOT / "lb" / "Dockerfile"), *argument, str(ROOT))


async def until_healthy(client: NginxBalancerClient, container: str) -> int:
    """The port it listens on."""
    async with asyncio.timeout(20):
        while docker("inspect", "-f", "{{.State.Running}}", container) == "true":
            try:
                return int(str((await client.health())["listen"]).rpartition(":")[2])
            except Temporary:
                await asyncio.sleep(0.05)
    words = ["docker", "logs", container]
    logs = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    raise AssertionError(logs.stdout + logs.stderr)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class ImageFixtures(PlayFixtures):
    """A container for each test, in the machine's own network: targets on loopback are within its reach."""

    capabilities: tuple[str, ...] = ("--cap-add=SYS_PTRACE",)

    @pytest.fixture
    async def stage(self, image: str, targets: tuple[TargetServer, ...]) -> AsyncIterator[ProcessStage]:
        control = f"127.0.0.1:{free_port()}"
        slots = [word for target in targets for word in ("--slot", target.address)]
        command = [
            "--listen",
            "127.0.0.1:0",
            "--control",
            control,
            "--shape",
            shape_to_json(Shape(target_group_arn=ARN)),
        ]
        sandbox = (*SANDBOX, *self.capabilities)
        container = docker("run", "-d", "--network=host", *sandbox, image, *command, *slots)
        try:
            client = NginxBalancerClient(control)
            yield ProcessStage(client, await until_healthy(client, container))
        finally:
            docker("rm", "-f", container)


class TestTheImageKeepsTheContract(ImageFixtures, NginxContract):
    """All of it, the end of a deregistration delay included."""


class TestTheImage(ImageFixtures):
    async def test_runs_without_root_and_without_any_capability_in_force(self, play: Play, image: str) -> None:
        assert json.loads(docker("image", "inspect", "-f", "{{json .Config.User}}", image)) == "nginx"
        health = (await play.stage.control("GET", "/v1/health"))[1]
        assert health["cut"] == "sockets"
        assert health["pid"] == 1

    async def test_its_log_says_nothing_that_is_wrong(self, play: Play) -> None:
        await play.publish("a")
        assert (await play.ask(get("/hello"))).status == 200


@pytest.mark.load
async def test_the_image_obeys_each_change_of_targets_at_once(image: str) -> None:
    async with many_targets() as addresses, nginx_image(image, list(addresses.values())) as running:
        assert_all_obeyed(
            await change_targets(running.client, running.port, addresses, changes=CHANGES, requests=REQUESTS)
        )


class TestTheImageWithoutTheCapability(ImageFixtures):
    capabilities = ()

    async def test_says_how_it_ends_streams(self, play: Play) -> None:
        assert (await play.stage.control("GET", "/v1/health"))[1]["cut"] == "next chunk"
