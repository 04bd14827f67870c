"""The `docker` runtime with real containers: the contract suite, and what only containers can show."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.events import ContainerExited, ContainerHealthChanged, ContainerStarted, ContainerStartFailed
from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.ports import Runtime, TaskSpec
from rollproof.orchestrator.runtimes.docker import ComposeProject, DockerImage, DockerRuntime
from rollproof.orchestrator.runtimes.docker_engine import Engine
from rollproof.testing.runtime_contract import Behaviour, EventLog, RuntimeContract, make_spec
from tests.e2e.docker.engine import IMAGE, Network, docker

SOCKET = "unix:///var/run/docker.sock"
WAITS = "import signal, sys; signal.signal(15, lambda *_: sys.exit(143)); signal.pause()"
PROTECTS = """
import http.client, os, time, urllib.parse
uri = urllib.parse.urlparse(os.environ["ECS_AGENT_URI"])
connection = http.client.HTTPConnection(uri.netloc)
body = '{"ProtectionEnabled": true, "ExpiresInMinutes": 30}'
connection.request("PUT", uri.path + "/task-protection/v1/state", body, {"Content-Type": "application/json"})
print(connection.getresponse().read().decode(), flush=True)
time.sleep(60)
"""
ASKS = """
import os, sys, urllib.request
print(urllib.request.urlopen(os.environ["ECS_CONTAINER_METADATA_URI_V4"] + sys.argv[1]).read().decode(), flush=True)
"""
EATS_MEMORY = "x = [bytearray(1 << 20) for _ in range(512)]"

COMMANDS = {
    Behaviour.STEADY: ("sleep", "60"),
    Behaviour.STUBBORN: ("sleep", "60"),  # PID 1 without a handler
    Behaviour.ENDS_WITH_7: ("sh", "-c", "exit 7"),
    Behaviour.NOT_PULLABLE: ("true",),
    Behaviour.NOT_EXECUTABLE: ("rollproof-no-such-program",),
    Behaviour.BECOMES_HEALTHY: ("sleep", "60"),
    Behaviour.TURNS_UNHEALTHY: ("sleep", "60"),
    Behaviour.PROTECTS_ITSELF: ("python3", "-S", "-c", PROTECTS),
}
HEALTH_CHECKS = {
    Behaviour.BECOMES_HEALTHY: ContainerHealthCheck(("CMD-SHELL", "true || exit 1"), interval_s=0.1),
    Behaviour.TURNS_UNHEALTHY: ContainerHealthCheck(("CMD", "false"), interval_s=0.1, retries=2),
}


class DockerTasks:
    """A DockerRuntime whose images behave as the contract's names say; also any command on its own."""

    def __init__(self, directory: Path, network: Network) -> None:
        self.directory, self.network = directory, network
        self.project = ComposeProject(network.project, network.name)
        self.images = {
            str(name): DockerImage(IMAGE, has_init=name not in (Behaviour.STUBBORN, Behaviour.NOT_EXECUTABLE))
            for name in Behaviour
            if name is not Behaviour.NOT_PULLABLE
        } | {"any": DockerImage(IMAGE), "absent": DockerImage("rollproof-no-such-image:1")}
        self._made: list[DockerRuntime] = []
        self.runtime: Runtime = self._new_runtime()

    async def open(self) -> None:
        await self._made[0].open()

    def spec(self, task_id: str, behaviour: Behaviour) -> TaskSpec:
        definition = TaskDefinition(
            image=behaviour, command=COMMANDS[behaviour], health_check=HEALTH_CHECKS.get(behaviour), cpu=1024
        )
        return make_spec(task_id, definition, self.directory / "logs")

    def runs(self, task_id: str, *command: str, **changes: object) -> TaskSpec:
        definition = replace(TaskDefinition(image="any", command=command, cpu=1024), **changes)  # type: ignore[arg-type]
        return make_spec(task_id, definition, self.directory / "logs")

    def replace_runtime(self) -> Runtime:
        """The old one is not told; a new one of its directory, as after a kill of the orchestrator."""
        old = self._made[-1]
        new = self._new_runtime()
        new._pool, new._subnet = old._pool, old._subnet
        self.runtime = new
        return new

    def log_of(self, task_id: str) -> str:
        return (self.directory / "logs" / f"{task_id}.log").read_text()

    async def close(self) -> None:
        names = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project.name}").split()
        if names:
            await asyncio.to_thread(docker, "rm", "--force", *names)
        for runtime in self._made:
            await runtime.close()

    def _new_runtime(self) -> DockerRuntime:
        runtime = DockerRuntime(
            self.directory / "runtime",
            self.project,
            self.images,
            engine=Engine(SOCKET),
            endpoint=(self.network.gateway, 0, self.network.gateway),
            poll_s=0.5,
        )
        self._made.append(runtime)
        return runtime


@pytest.fixture
async def stage(tmp_path: Path, network: Network) -> AsyncIterator[DockerTasks]:
    tasks = DockerTasks(tmp_path, network)
    await tasks.open()
    yield tasks
    await tasks.close()


@pytest.fixture
async def log(stage: DockerTasks) -> AsyncIterator[EventLog]:
    async with EventLog(stage.runtime) as log:
        yield log


@pytest.fixture
def new_id() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):012x}".ljust(32, "0")


class TestDockerRuntimeKeepsTheContract(RuntimeContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path, network: Network) -> AsyncIterator[DockerTasks]:
        tasks = DockerTasks(tmp_path, network)
        await tasks.open()
        yield tasks
        await tasks.close()

    @pytest.fixture
    def new_id(self) -> Callable[[], str]:
        """Ids that differ in their first twelve digits, as real ones do: a container's name holds no more."""
        numbers = itertools.count(1)
        return lambda: f"{next(numbers):012x}".ljust(32, "0")


async def test_a_task_is_a_container_of_the_project_without_any_privilege(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "sleep", "60", cpu=256, memory_mib=512, stop_signal="SIGINT"))
    started = await log.wait_for(ContainerStarted, task)
    name = stage.project.container_name(task)
    found = json.loads(docker("inspect", name))[0]
    host, labels = found["HostConfig"], found["Config"]["Labels"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (250_000_000, 512 << 20, 512 << 20)
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    assert not host["Binds"]
    assert (found["Config"]["User"], found["Config"]["StopSignal"]) == ("10001:10001", "SIGINT")
    assert found["NetworkSettings"]["Networks"][stage.network.name]["IPAddress"] == started.address.split(":")[0]
    assert labels["com.docker.compose.project"] == stage.project.name
    assert labels["com.docker.compose.service"] == "server"
    looks = "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/1/status; touch /x; touch /tmp/x; echo $?"
    status = docker("exec", name, "sh", "-c", looks, check=False)
    assert status.split() == ["10001", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "0"]


async def test_compose_shows_the_tasks_as_a_service(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "sh", "-c", "echo hello; exec sleep 60"))
    await log.wait_for(ContainerStarted, task)
    compose = ("compose", "--project-name", stage.project.name)
    assert docker(*compose, "ps", "--services") == "server"
    assert docker(*compose, "ps", "--format", "{{.Name}}") == stage.project.container_name(task)
    assert "hello" in docker(*compose, "logs", "server")


async def test_an_address_is_not_given_again_at_once(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    first, second = new_id(), new_id()
    await stage.runtime.start(stage.runs(first, "sleep", "60"))
    one = await log.wait_for(ContainerStarted, first)
    await stage.runtime.remove(first)
    await stage.runtime.start(stage.runs(second, "sleep", "60"))
    assert (await log.wait_for(ContainerStarted, second)).address != one.address


async def test_running_out_of_memory_is_said_in_the_words_of_ecs(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "python3", "-S", "-c", EATS_MEMORY, memory_mib=64))
    exited = await log.wait_for(ContainerExited, task)
    assert exited == ContainerExited(task, 137, "OutOfMemoryError: container killed due to memory usage")


async def test_an_image_that_is_not_on_this_machine_cannot_be_pulled(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    task = new_id()
    spec = stage.runs(task, "true")
    await stage.runtime.start(replace(spec, definition=replace(spec.definition, image="absent")))
    failed = await log.wait_for(ContainerStartFailed, task)
    assert failed.reason == (
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        "failed to resolve ref docker.io/library/absent:latest: docker.io/library/absent:latest: not found"
    )


async def test_a_program_that_is_missing_is_told_as_fargate_tells_it(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "rollproof-no-such-program"))
    reason = (await log.wait_for(ContainerStartFailed, task)).reason
    assert reason.startswith(
        "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: "
        "failed to create shim task: OCI runtime create failed: "
    )
    assert 'exec: "rollproof-no-such-program": executable file not found in $PATH' in reason
    assert docker("ps", "-aq", "--filter", f"name={stage.project.container_name(task)}") == ""


async def test_the_log_holds_all_that_was_said(stage: DockerTasks, log: EventLog, new_id: Callable[[], str]) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "sh", "-c", "seq 1 2000; exec echo last"))
    await log.wait_for(ContainerExited, task)
    await stage.runtime.remove(task)
    assert stage.log_of(task).splitlines() == [*(str(n) for n in range(1, 2001)), "last"]


async def test_a_task_reads_its_own_metadata_and_nobody_elses(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    asks, other, pries = new_id(), new_id(), new_id()
    await stage.runtime.start(stage.runs(asks, "python3", "-S", "-c", ASKS, "/task"))
    started = await log.wait_for(ContainerStarted, asks)
    await log.wait_for(ContainerExited, asks)
    await stage.runtime.start(stage.runs(other, "sleep", "60"))
    await log.wait_for(ContainerStarted, other)
    uri = next(
        line for line in json.loads(docker("inspect", stage.project.container_name(other)))[0]["Config"]["Env"]
        if line.startswith("ECS_CONTAINER_METADATA_URI_V4=")
    ).partition("=")[2]  # fmt: skip
    foreign = ASKS.replace("os.environ", repr({"ECS_CONTAINER_METADATA_URI_V4": uri}))
    await stage.runtime.start(stage.runs(pries, "python3", "-S", "-c", foreign, "/task"))
    refused = await log.wait_for(ContainerExited, pries)
    for task in (asks, pries):
        await stage.runtime.remove(task)

    told = json.loads(stage.log_of(asks))
    assert told["TaskARN"].endswith(asks)
    assert (told["DesiredStatus"], told["KnownStatus"]) == ("RUNNING", "RUNNING")
    assert told["Containers"][0]["Networks"][0]["IPv4Addresses"] == [started.address.split(":")[0]]
    assert refused.exit_code == 1
    assert "HTTP Error 404" in stage.log_of(pries)


async def test_stats_are_the_containers_own(stage: DockerTasks, log: EventLog, new_id: Callable[[], str]) -> None:
    task = new_id()
    await stage.runtime.start(stage.runs(task, "python3", "-S", "-c", ASKS, "/stats", memory_mib=128))
    await log.wait_for(ContainerExited, task)
    await stage.runtime.remove(task)
    told = json.loads(stage.log_of(task))
    assert told["memory_stats"]["limit"] == 128 << 20
    assert told["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert told["pids_stats"]["current"] >= 1


async def test_a_task_created_but_not_started_by_a_killed_orchestrator_is_started_by_the_next(
    stage: DockerTasks, new_id: Callable[[], str]
) -> None:
    task = new_id()
    spec = stage.runs(task, "sleep", "60")
    await stage.runtime.start(spec)
    async with EventLog(stage.runtime) as before:
        await before.wait_for(ContainerStarted, task)
    name = stage.project.container_name(task)
    config = json.loads(docker("inspect", name))[0]["Config"]
    docker("rm", "--force", name)
    labels = [word for key, value in config["Labels"].items() for word in ("--label", f"{key}={value}")]
    docker("create", "--name", name, "--network", stage.network.name, *labels, IMAGE, "sleep", "60")
    runtime = stage.replace_runtime()
    assert await runtime.describe() == []
    await runtime.start(spec)
    async with EventLog(runtime) as after:
        await after.wait_for(ContainerStarted, task)


async def test_health_is_unknown_without_a_health_check_of_the_definition(
    stage: DockerTasks, log: EventLog, new_id: Callable[[], str]
) -> None:
    """ECS ignores the image's HEALTHCHECK."""
    task = new_id()
    await stage.runtime.start(stage.runs(task, "sleep", "60"))
    await log.wait_for(ContainerStarted, task)
    found = json.loads(docker("inspect", stage.project.container_name(task)))[0]
    assert found["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert not [event for event in log.of(task) if isinstance(event, ContainerHealthChanged)]
