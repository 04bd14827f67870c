"""The `process` runtime with real processes: the contract suite, and what only processes can show."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.core.events import (
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
    ContainerStartFailed,
    TaskProtectionChanged,
)
from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.ports import Runtime, TaskSpec
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
from rollproof.orchestrator.runtimes.process import AGENT_DIED, ProcessRuntime
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory
from rollproof.testing.runtime_contract import DEADLINE_S, Behaviour, EventLog, RuntimeContract, RuntimeStage, make_spec

PROTECT = """
import http.client, os, time, urllib.parse
uri = urllib.parse.urlparse(os.environ["ECS_AGENT_URI"])
connection = http.client.HTTPConnection(uri.netloc)
body = '{"ProtectionEnabled": true, "ExpiresInMinutes": 30}'
connection.request("PUT", uri.path + "/task-protection/v1/state", body, {"Content-Type": "application/json"})
print(connection.getresponse().read().decode(), flush=True)
time.sleep(60)
"""

COMMANDS = {
    Behaviour.STEADY: ("sleep", "60"),
    Behaviour.STUBBORN: ("sh", "-c", "trap '' TERM; exec sleep 60"),
    Behaviour.ENDS_WITH_7: ("sh", "-c", "exit 7"),
    Behaviour.NOT_EXECUTABLE: ("rollproof-no-such-program",),
    Behaviour.BECOMES_HEALTHY: ("sleep", "60"),
    Behaviour.TURNS_UNHEALTHY: ("sleep", "60"),
    Behaviour.PROTECTS_ITSELF: (sys.executable, "-S", "-c", PROTECT),
}
HEALTH_CHECKS = {
    Behaviour.BECOMES_HEALTHY: ContainerHealthCheck(("CMD-SHELL", "true || exit 1"), interval_s=0.02),
    Behaviour.TURNS_UNHEALTHY: ContainerHealthCheck(("CMD", "false"), interval_s=0.02, retries=2),
}


class ProcessStage:
    """A ProcessRuntime whose images behave as the contract's names say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images = {
            behaviour: ImageSpec(command, directory, has_init=behaviour != Behaviour.STUBBORN)
            for behaviour, command in COMMANDS.items()
        }
        self.runtime: Runtime = self._new_runtime()

    def spec(self, task_id: str, behaviour: Behaviour) -> TaskSpec:
        definition = TaskDefinition(image=behaviour, health_check=HEALTH_CHECKS.get(behaviour))
        return make_spec(task_id, definition, self.directory / "logs")

    def replace_runtime(self) -> Runtime:
        self.runtime = self._new_runtime()
        return self.runtime

    def task(self, task_id: str) -> TaskDirectory:
        return TaskDirectory(self.directory / "runtime" / "tasks" / task_id)

    def pid(self, task_id: str) -> int:
        return next(int(e["pid"]) for e in self.task(task_id).read_events()[0] if e["kind"] == "started")

    def agent_pid(self, task_id: str) -> int:
        agent = self.task(task_id).read_agent()
        assert agent is not None
        return agent.pid

    async def close(self) -> None:
        for name in os.listdir(self.directory / "runtime" / "tasks"):
            await self.runtime.remove(name)

    def _new_runtime(self) -> ProcessRuntime:
        return ProcessRuntime(self.directory / "runtime", {str(name): image for name, image in self.images.items()})


def processes_of(directory: Path) -> list[psutil.Process]:
    """Task agents and tasks whose command line or environment names the directory."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline()[1:], process.environ().get("TMPDIR", "")]
        except psutil.Error:
            continue
        if any(word.startswith(str(directory)) for word in words):
            found.append(process)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """For what other processes do; the event loop stands still meanwhile."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        os.sched_yield()


def runs(pid: int) -> bool:
    """A zombie that somebody else is to reap does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_line(path: Path, start: str) -> str:
    """The first whole line of a growing file that starts so."""

    def found() -> list[str]:
        lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(start)]

    wait_until(lambda: bool(found()))
    return found()[0]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ProcessStage]:
    stage = ProcessStage(tmp_path)
    yield stage
    await stage.close()
    assert processes_of(tmp_path) == []


@pytest.fixture
async def log(stage: ProcessStage) -> AsyncIterator[EventLog]:
    async with EventLog(stage.runtime) as log:
        yield log


@pytest.fixture
def new_id() -> Callable[[], str]:
    numbers: Iterator[int] = itertools.count(1)
    return lambda: f"{next(numbers):032x}"


class TestProcessRuntimeKeepsTheContract(RuntimeContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[RuntimeStage]:
        stage = ProcessStage(tmp_path)
        yield stage
        await stage.close()
        assert processes_of(tmp_path) == []


class TestEnvironment:
    async def test_a_task_sees_what_ecs_injects_and_nothing_else_of_ours(
        self, stage: ProcessStage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the developer")
        monkeypatch.setenv("HTTPS_PROXY", "http://of.the.developer")
        stage.images[Behaviour.STEADY] = ImageSpec(("env",), stage.directory, {"FROM_IMAGE": "1", "VERSION": "image"})
        spec = replace(
            stage.spec("a" * 32, Behaviour.STEADY), environment={"VERSION": "definition", "PORT": "8000", "A": "x=y"}
        )
        runtime = stage.replace_runtime()
        async with EventLog(runtime) as log:
            await runtime.start(spec)
            port = (await log.wait_for(ContainerStarted, spec.task_id)).address.rpartition(":")[2]
            await log.wait_for(ContainerExited, spec.task_id)
        seen = dict(line.split("=", 1) for line in spec.log_path.read_text().splitlines())
        assert seen["PORT"] == port
        assert (seen["VERSION"], seen["FROM_IMAGE"], seen["A"]) == ("definition", "1", "x=y")
        assert (seen["AWS_REGION"], seen["AWS_EXECUTION_ENV"]) == ("us-east-1", "AWS_ECS_FARGATE")
        assert seen["ECS_CONTAINER_METADATA_URI_V4"].startswith("http://127.0.0.1:")
        assert f"/v4/{spec.task_id}-" in seen["ECS_CONTAINER_METADATA_URI_V4"]
        assert seen["TMPDIR"].startswith(str(stage.directory))
        assert seen["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
        assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "PYTEST_CURRENT_TEST"} & seen.keys()

    async def test_the_port_goes_into_the_command_and_the_working_directory_is_the_images(
        self, stage: ProcessStage, log: EventLog
    ) -> None:
        spec = stage.spec("b" * 32, Behaviour.STEADY)
        definition = replace(spec.definition, command=("sh", "-c", 'echo "$1 $PORT $(pwd)"', "sh", "{port}"))
        await stage.runtime.start(replace(spec, definition=definition))
        port = (await log.wait_for(ContainerStarted, spec.task_id)).address.rpartition(":")[2]
        await log.wait_for(ContainerExited, spec.task_id)
        assert spec.log_path.read_text() == f"{port} {port} {stage.directory}\n"

    async def test_secrets_leave_the_disk_when_the_task_has_started(self, stage: ProcessStage, log: EventLog) -> None:
        spec = replace(stage.spec("c" * 32, Behaviour.STEADY), environment={"TOKEN": "s3cret-value"})
        await stage.runtime.start(spec)
        files = [path for path in stage.task(spec.task_id).path.rglob("*") if path.is_file()]
        assert len(files) >= 4
        assert [path for path in files if b"s3cret-value" in path.read_bytes()] == []

    async def test_stdout_and_stderr_go_to_the_log_which_outlives_the_task(
        self, stage: ProcessStage, log: EventLog
    ) -> None:
        spec = stage.spec("d" * 32, Behaviour.STEADY)
        definition = replace(spec.definition, command=("sh", "-c", "echo out; echo err >&2"))
        await stage.runtime.start(replace(spec, definition=definition))
        await log.wait_for(ContainerExited, spec.task_id)
        await stage.runtime.remove(spec.task_id)
        assert spec.log_path.read_text() == "out\nerr\n"


class TestStartFailures:
    @pytest.mark.parametrize(
        ("command", "words"),
        [
            (("no-such-program",), 'exec: "no-such-program": executable file not found in $PATH: unknown'),
            (("/no/such/program",), 'exec: "/no/such/program": stat /no/such/program: no such file or directory'),
            ((__file__,), f'exec: "{__file__}": permission denied'),
        ],
    )
    async def test_a_program_that_cannot_be_executed(
        self, stage: ProcessStage, log: EventLog, command: tuple[str, ...], words: str
    ) -> None:
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        await stage.runtime.start(replace(spec, definition=replace(spec.definition, command=command)))
        reason = (await log.wait_for(ContainerStartFailed, spec.task_id)).reason
        assert reason.startswith("CannotStartContainerError: ")
        assert words in reason

    async def test_a_file_that_is_no_program(self, stage: ProcessStage, log: EventLog, tmp_path: Path) -> None:
        program = tmp_path / "garbage"
        program.write_bytes(b"\x00\x01")
        program.chmod(0o755)
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        await stage.runtime.start(replace(spec, definition=replace(spec.definition, command=(str(program),))))
        assert "exec format error" in (await log.wait_for(ContainerStartFailed, spec.task_id)).reason

    async def test_an_unknown_image_and_a_missing_command_and_directory(
        self, stage: ProcessStage, tmp_path: Path
    ) -> None:
        images = {"empty": ImageSpec((), tmp_path), "lost": ImageSpec(("true",), tmp_path / "gone")}
        stage.runtime = runtime = ProcessRuntime(tmp_path / "runtime", images)
        wanted = {"nope:v2": "resolve ref docker.io/library/nope:v2: ", "empty": "no command", "lost": "chdir to cwd"}
        async with EventLog(runtime) as log:
            for number, (image, words) in enumerate(wanted.items()):
                task = f"{number:032x}"
                await runtime.start(make_spec(task, TaskDefinition(image=image), tmp_path))
                assert words in (await log.wait_for(ContainerStartFailed, task)).reason

    async def test_a_log_file_that_cannot_be_written(self, stage: ProcessStage, log: EventLog) -> None:
        (stage.directory / "file").touch()
        spec = replace(stage.spec("a" * 32, Behaviour.STEADY), log_path=stage.directory / "file" / "task.log")
        await stage.runtime.start(spec)
        assert "logging driver" in (await log.wait_for(ContainerStartFailed, spec.task_id)).reason

    async def test_a_health_check_that_ecs_would_not_register_is_refused(self, stage: ProcessStage) -> None:
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        definition = replace(spec.definition, health_check=ContainerHealthCheck(("curl", "localhost")))
        with pytest.raises(UsageError, match="CMD-SHELL"):
            await stage.runtime.start(replace(spec, definition=definition))
        assert await stage.runtime.describe() == []

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(Permanent, match="cannot keep tasks"):
            ProcessRuntime(tmp_path / "file" / "runtime")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and prctl; see containment.py")
class TestPid1:
    """API-ECS StopTask: the signal goes to PID 1 of the container."""

    @pytest.mark.fidelity("ECS-TASK-22", source="API-ECS StopTask", mark="doc")
    async def test_a_program_without_a_handler_ignores_sigterm_and_dies_of_sigkill(self, stage: ProcessStage) -> None:
        stage.images[Behaviour.STEADY] = ImageSpec(("sleep", "60"), stage.directory, has_init=False)
        runtime = stage.replace_runtime()
        task = "a" * 32
        async with EventLog(runtime) as log:
            await runtime.start(stage.spec(task, Behaviour.STEADY))
            await runtime.signal(task, "SIGTERM")
            await runtime.signal(task, "SIGKILL")
            assert (await log.wait_for(ContainerExited, task)).exit_code == 137

    @pytest.mark.fidelity("ECS-TASK-24", source="O12; O6", mark="observed")
    async def test_a_handler_sees_the_signal_and_its_exit_code_counts(self, stage: ProcessStage) -> None:
        script = "trap 'echo stopping; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
        stage.images[Behaviour.STEADY] = ImageSpec(("sh", "-c", script), stage.directory)
        runtime = stage.replace_runtime()
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        async with EventLog(runtime) as log:
            await runtime.start(spec)
            wait_for_line(spec.log_path, "ready")
            await runtime.signal(spec.task_id, "SIGTERM")
            assert (await log.wait_for(ContainerExited, spec.task_id)).exit_code == 0
        assert spec.log_path.read_text() == "ready\nstopping\n"

    @pytest.mark.fidelity("ECS-TASK-22", source="API-ECS StopTask", mark="doc")
    async def test_children_are_not_signalled_but_die_with_the_first_process(self, stage: ProcessStage) -> None:
        """Also the one that has left the process group and its parent."""
        script = """
            (trap 'echo told' TERM; while :; do sleep 0.01; done) & echo child $!
            setsid sh -c 'sleep 60 & echo escaped $!'
            trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done
        """
        stage.images[Behaviour.STEADY] = ImageSpec(("sh", "-c", script), stage.directory)
        runtime = stage.replace_runtime()
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        async with EventLog(runtime) as log:
            await runtime.start(spec)
            wait_for_line(spec.log_path, "ready")
            pids = [int(wait_for_line(spec.log_path, word).split()[1]) for word in ("child", "escaped")]
            assert all(psutil.pid_exists(pid) for pid in pids)
            await runtime.signal(spec.task_id, "SIGTERM")
            assert (await log.wait_for(ContainerExited, spec.task_id)).exit_code == 3
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert "told" not in spec.log_path.read_text()

    async def test_a_dead_agent_takes_its_task_along(self, stage: ProcessStage, log: EventLog) -> None:
        task = "a" * 32
        await stage.runtime.start(stage.spec(task, Behaviour.STUBBORN))
        await log.wait_for(ContainerStarted, task)
        os.kill(stage.agent_pid(task), signal.SIGKILL)
        wait_until(lambda: not runs(stage.pid(task)))


class TestAdoption:
    async def test_an_agent_that_died_is_reported_as_a_lost_task_with_nothing_left(self, stage: ProcessStage) -> None:
        """The whole group goes, found by its environment and session even when its leader is gone."""
        spec = stage.spec("a" * 32, Behaviour.STEADY)
        definition = replace(spec.definition, command=("sh", "-c", "sleep 60 & echo child $!; wait"))
        await stage.runtime.start(replace(spec, definition=definition))
        child = int(wait_for_line(spec.log_path, "child").split()[1])
        os.kill(stage.agent_pid(spec.task_id), signal.SIGKILL)
        wait_until(lambda: not stage.task(spec.task_id).agent_lives())

        runtime = stage.replace_runtime()

        assert [(found.task_id, found.exit_code) for found in await runtime.describe()] == [(spec.task_id, 137)]
        wait_until(lambda: not runs(child))
        async with EventLog(runtime) as log:
            assert (await log.wait_for(ContainerExited, spec.task_id)).reason == AGENT_DIED

    async def test_a_task_of_the_same_id_in_another_rehearsal_is_left_alone(
        self, stage: ProcessStage, log: EventLog, tmp_path: Path
    ) -> None:
        """Ids come from counters: two rehearsals on one machine have the same."""
        other = ProcessStage(tmp_path / "other")
        task = "a" * 32
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        try:
            await other.runtime.start(other.spec(task, Behaviour.STEADY))
            os.kill(stage.agent_pid(task), signal.SIGKILL)
            await log.wait_for(ContainerExited, task)
            assert [found.exit_code for found in await other.runtime.describe()] == [None]
        finally:
            await other.close()

    async def test_a_watching_runtime_notices_a_dead_agent_by_itself(self, stage: ProcessStage, log: EventLog) -> None:
        task = "a" * 32
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        await log.wait_for(ContainerStarted, task)
        os.kill(stage.agent_pid(task), signal.SIGKILL)
        assert (await log.wait_for(ContainerExited, task)).exit_code == 137

    async def test_the_past_is_told_as_the_present(self, stage: ProcessStage) -> None:
        """Health that came and went is not news; of a protection, what is left is told."""
        task = "a" * 32
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        directory = stage.task(task)
        for healthy in (True, False, True):
            directory.append("health", healthy=healthy)
        directory.append("protection", enabled=True, expires_in_minutes=60, expires_at=time.time() + 90)
        async with EventLog(stage.replace_runtime()) as log:
            assert await log.wait_for(TaskProtectionChanged, task) == TaskProtectionChanged(task, True, 2)
            assert [event.healthy for event in log.of(task) if isinstance(event, ContainerHealthChanged)] == [True]

    async def test_a_start_that_was_cut_short_is_carried_out_by_the_next_runtime(self, stage: ProcessStage) -> None:
        """As left by an orchestrator killed after it had written the task down, before it ran the agent."""
        task = "a" * 32
        first = stage.runtime
        assert isinstance(first, ProcessRuntime)
        held = first._prepare(stage.task(task), stage.spec(task, Behaviour.STEADY))
        assert held is not None
        held.close()
        async with EventLog(stage.replace_runtime()) as log:
            assert (await log.wait_for(ContainerStarted, task)).address.endswith(f":{held.number}")

    async def test_an_orchestrator_killed_for_real_loses_no_task_and_no_exit_code(self, stage: ProcessStage) -> None:
        """kill -9 of a process that runs a ProcessRuntime; a task ends while nobody looks."""
        script = textwrap.dedent("""
            import asyncio, sys
            from pathlib import Path
            from rollproof.core.settings import TaskDefinition
            from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
            from rollproof.orchestrator.runtimes.process import ProcessRuntime
            from rollproof.testing.runtime_contract import make_spec

            async def main(root):
                wait = f"while [ ! -e {root}/go ]; do sleep 0.01; done; exit 5"
                images = {"stays": ImageSpec(("sleep", "60"), root), "ends": ImageSpec(("sh", "-c", wait), root)}
                runtime = ProcessRuntime(root / "runtime", images)
                for number, image in enumerate(images):
                    await runtime.start(make_spec(f"{number:032x}", TaskDefinition(image=image), root))
                print("started", flush=True)
                async for event in runtime.watch():
                    pass

            asyncio.run(main(Path(sys.argv[1])))
        """)
        stays, ends = f"{0:032x}", f"{1:032x}"
        orchestrator = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(stage.directory), stdout=subprocess.PIPE
        )
        assert orchestrator.stdout
        assert await asyncio.wait_for(orchestrator.stdout.readline(), DEADLINE_S) == b"started\n"
        orchestrator.kill()
        await orchestrator.wait()
        (stage.directory / "go").touch()
        wait_until(lambda: not stage.task(ends).agent_lives())

        runtime = stage.replace_runtime()

        assert {task.task_id: task.exit_code for task in await runtime.describe()} == {stays: None, ends: 5}
        async with EventLog(runtime) as log:
            assert (await log.wait_for(ContainerExited, ends)).exit_code == 5
            await log.wait_for(ContainerStarted, stays)
            await runtime.signal(stays, "SIGKILL")
            assert (await log.wait_for(ContainerExited, stays)).exit_code == 137


class TestMany:
    async def test_twenty_tasks_at_once(self, stage: ProcessStage, log: EventLog, new_id: Callable[[], str]) -> None:
        tasks = [new_id() for _ in range(20)]
        await asyncio.gather(*(stage.runtime.start(stage.spec(task, Behaviour.STEADY)) for task in tasks))
        assert len({(await log.wait_for(ContainerStarted, task)).address for task in tasks}) == 20
        await asyncio.gather(*(stage.runtime.signal(task, "SIGTERM") for task in tasks))
        assert {(await log.wait_for(ContainerExited, task)).exit_code for task in tasks} == {143}
        await asyncio.gather(*(stage.runtime.remove(task) for task in tasks))
        assert await stage.runtime.describe() == []

    async def test_an_event_is_told_at_once_and_not_on_the_next_poll(self, stage: ProcessStage) -> None:
        runtime = ProcessRuntime(stage.directory / "runtime", None, poll_s=3600)
        async with EventLog(runtime) as log:
            definition = TaskDefinition(command=("true",))
            await runtime.start(make_spec("a" * 32, definition, stage.directory))
            await log.wait_for(ContainerExited, "a" * 32)
            record = json.loads(stage.task("a" * 32).events.read_text().splitlines()[-1])
            assert time.time() - record["at"] < 1.0

    async def test_a_port_is_not_given_again_while_its_task_is_there(
        self, stage: ProcessStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        addresses = set()
        for _ in range(3):
            task = new_id()
            await stage.replace_runtime().start(stage.spec(task, Behaviour.ENDS_WITH_7))  # each begins at the same port
            addresses.add((await log.wait_for(ContainerStarted, task)).address)
        assert len(addresses) == 3
