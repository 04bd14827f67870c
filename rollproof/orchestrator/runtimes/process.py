"""The `process` runtime: each ECS task is an operating-system process group on this machine.

One task agent per task (task_agent.py) does all that must go on while no orchestrator runs; this module
starts agents, hands signals to them, and reads what they wrote (task_directory.py). It keeps nothing in
memory that matters: another ProcessRuntime over the same directory adopts every task, with its exit code.

Guarantees, beyond the port's (orchestrator/ports.py):
- `start` is durable and idempotent. Once a task's directory exists the task will be started, if need be by
  the `watch` of the next runtime; starting it again changes nothing.
- `watch` tells a task's past as its present: of what happened before it first looked, the last event of each
  kind. So a check that failed an hour ago does not come back as news.
- A task whose start failed is not in `describe`; `watch` tells of it.
- A task agent that dies takes its task with it: exit code 137, as of a host that was lost.

Signals. API-ECS StopTask: sent to PID 1 of every container. So a signal goes to the task's first process
alone, and only if PID 1 would notice it: one that has no handler for SIGTERM is killed at its stop timeout,
here as there (see containment.py; `ImageSpec.has_init` is the way out, here as there). Children hear of it from
their parent or not at all; when the first process ends, all others are killed. SIGKILL goes to the group.

Differs from AWS: no limits on CPU and memory, no file system or network of its own (launch_plan.py). A program
that re-raises SIGTERM after its clean shutdown (uvicorn does) shows 143 here, where PID 1 would go on to end
with its own exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal as signals
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import rollproof
from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.events import ContainerEvent
from rollproof.orchestrator.ports import FoundTask, TaskSpec
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec, plan_launch, refusal, task_facts
from rollproof.orchestrator.runtimes.leftovers import kill_leftovers
from rollproof.orchestrator.runtimes.port_pool import HeldPort, PortPool
from rollproof.orchestrator.runtimes.task_agent import FORWARDED
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory, ring, write_json
from rollproof.orchestrator.runtimes.task_news import Bell, container_event, present_of

__all__ = ["ImageSpec", "ProcessRuntime"]

AGENT_MODULE = "rollproof.orchestrator.runtimes.task_agent"
AGENT_START_TIMEOUT_S = 20.0
AGENT_END_TIMEOUT_S = 5.0
AGENT_DIED = "the task agent died; the processes of the task were killed"


class ProcessRuntime:
    """Tasks as process groups under `directory`, which is created.

    `images` maps image names, exactly as task definitions write them, to what they stand for; any other
    image cannot be pulled. None: every image is taken to exist, and definitions must bring their command.
    `speed`: rehearsal seconds in a real second; it shortens task protection. Durations inside a
    TaskDefinition are taken as real seconds. `poll_s`: how often `watch` looks when no agent rings.
    """

    def __init__(
        self,
        directory: Path,
        images: Mapping[str, ImageSpec] | None = None,
        *,
        speed: float = 1.0,
        poll_s: float = 0.5,
        ports: PortPool | None = None,
    ) -> None:
        self._root = directory.absolute()
        self._images, self._speed, self._poll_s = images, speed, poll_s
        self._ports = ports or PortPool()
        self._busy: dict[str, asyncio.Lock] = {}
        self._tasks = self._root / "tasks"
        try:
            self._tasks.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Permanent(
                f"cannot keep tasks in {self._root}: {error}", hint="give a directory that can be written"
            ) from error

    async def start(self, spec: TaskSpec) -> None:
        """Raises UsageError for a definition that ECS would not register, Temporary if disk or ports are full."""
        async with self._alone(spec.task_id):
            directory = TaskDirectory(self._tasks / spec.task_id)
            if not directory.exists():
                held = self._prepare(directory, spec)
                if held is not None:
                    await asyncio.to_thread(_run_agent, directory, held)

    async def signal(self, task_id: str, signal: str) -> None:
        """Raises UsageError for a signal that no container could be sent."""
        number = signals.Signals.__members__.get(signal)
        if number is None or (number != signals.SIGKILL and number not in FORWARDED):
            known = ", ".join(one.name for one in FORWARDED)
            raise UsageError(f"signal {signal!r} cannot be sent to a task", hint=f"SIGKILL or one of {known}")
        async with self._alone(task_id):
            directory = TaskDirectory(self._tasks / task_id)
            agent = directory.read_agent()
            if agent is None or not directory.agent_lives():
                return
            if number == signals.SIGKILL:
                _kill_task(directory, agent.pid)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(agent.pid, number)

    async def watch(self) -> AsyncIterator[ContainerEvent]:
        offsets: dict[str, int] = {}
        with Bell(self._root / "bell") as bell:
            while True:
                directories = self._directories()
                for directory in directories:
                    for event in await self._news(directory, offsets):
                        yield event
                for gone in offsets.keys() - {directory.task_id for directory in directories}:
                    del offsets[gone]
                await bell.wait(self._poll_s)

    async def describe(self) -> list[FoundTask]:
        found = []
        for directory in self._directories():
            await self._settle(directory)
            records, _ = directory.read_events()
            last = {record["kind"]: record for record in records}
            if "start_failed" not in last:
                exit_code = last["exited"]["exit_code"] if "exited" in last else None
                found.append(FoundTask(directory.task_id, self._address(directory), exit_code))
        return found

    async def remove(self, task_id: str) -> None:
        """Raises Temporary if the task's processes do not end. The log file stays."""
        async with self._alone(task_id):
            directory = TaskDirectory(self._tasks / task_id)
            if directory.exists():
                await asyncio.to_thread(_destroy, directory)
        self._busy.pop(task_id, None)

    def _alone(self, task_id: str) -> asyncio.Lock:
        return self._busy.setdefault(task_id, asyncio.Lock())

    def _directories(self) -> list[TaskDirectory]:
        names = sorted(name for name in os.listdir(self._tasks) if not name.startswith("."))
        return [directory for name in names if (directory := TaskDirectory(self._tasks / name)).exists()]

    def _address(self, directory: TaskDirectory) -> str:
        return str(directory.read_task()["address"])

    def _prepare(self, directory: TaskDirectory, spec: TaskSpec) -> HeldPort | None:
        """Write down all that is needed to start the task, in one step. None: its start has failed already."""
        image = self._image(spec)
        taken = {int(self._address(other).rpartition(":")[2]) for other in self._directories()}
        with contextlib.ExitStack() as undo:
            try:
                held = self._ports.take(taken)
                undo.callback(held.close)
                refused = _write_directory(directory, spec, image, held.number, self._speed)
            except OSError as error:
                raise Temporary(
                    f"task {spec.task_id}: cannot write {directory.path}: {error}", hint="is the disk full?"
                ) from error
            if refused:
                ring(directory.bell)
                return None
            undo.pop_all()
            return held

    def _image(self, spec: TaskSpec) -> ImageSpec | None:
        if self._images is None:
            return ImageSpec(command=(), working_directory=self._root)
        return self._images.get(spec.definition.image)

    async def _news(self, directory: TaskDirectory, offsets: dict[str, int]) -> list[ContainerEvent]:
        """What has happened since the last look; at the first look, the present."""
        task_id, now = directory.task_id, time.time()
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            await self._settle(directory)
            address = self._address(directory)
            records, behind = directory.read_events(offsets.get(task_id, 0))
            if task_id not in offsets:
                records = present_of(records)
            offsets[task_id] = behind
            return [container_event(task_id, address, record, now, self._speed) for record in records]
        return []

    async def _settle(self, directory: TaskDirectory) -> None:
        """Bring a task without a living agent to where it belongs: started, or over."""
        if self._alone(directory.task_id).locked() or directory.agent_lives() or directory.is_over():
            return
        async with self._alone(directory.task_id):
            if not directory.exists() or directory.agent_lives() or directory.is_over():
                return
            if directory.read_agent() is None:
                await asyncio.to_thread(self._resume, directory)
            else:
                await asyncio.to_thread(kill_leftovers, directory)
                directory.append("exited", exit_code=137, reason=AGENT_DIED)

    def _resume(self, directory: TaskDirectory) -> None:
        """An orchestrator was killed between writing the directory and starting the agent."""
        held = self._ports.hold(int(self._address(directory).rpartition(":")[2]))
        if held is not None:
            _run_agent(directory, held)
        elif time.time() - directory.task.stat().st_mtime > AGENT_START_TIMEOUT_S:
            directory.append(
                "start_failed", reason=f"ResourceInitializationError: the port of {self._address(directory)} is in use"
            )
        # else an agent is on its way, with the port's lock in hand


def _write_directory(
    directory: TaskDirectory, spec: TaskSpec, image: ImageSpec | None, port: int, speed: float
) -> bool:
    """Is there a reason not to start it, now written down?"""
    draft = TaskDirectory(directory.path.with_name(f".{directory.task_id}"))
    shutil.rmtree(draft.path, ignore_errors=True)  # of a runtime that was killed in here
    facts, log_path = task_facts(spec, time.time()), str(spec.log_path.absolute())
    refused = refusal(spec, image)
    launch = plan_launch(spec, image, port, directory.tmp, speed) if image and not refused else None
    draft.tmp.mkdir(mode=0o700, parents=True)
    write_json(draft.task, {"facts": facts._asdict(), "address": f"127.0.0.1:{port}", "log_path": log_path})
    if launch is None:
        draft.append("start_failed", reason=refused)
    else:
        write_json(draft.launch, launch._asdict())
    draft.path.rename(directory.path)
    return launch is None


def _run_agent(directory: TaskDirectory, held: HeldPort) -> None:
    """Start the agent and wait until it is ready. If it never is, that is written down as the task's start."""
    package_parent = str(Path(rollproof.__file__).parents[1])
    try:
        with directory.agent_log.open("ab") as log:
            ended = subprocess.run(
                [sys.executable, "-S", "-s", "-m", AGENT_MODULE, str(directory.path)],
                env={"PYTHONPATH": package_parent, "PATH": os.environ.get("PATH", os.defpath)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[held.descriptor],
                timeout=AGENT_START_TIMEOUT_S,
                check=False,
                start_new_session=True,
            )
        failure = "" if ended.returncode == 0 else f"the task agent ended with {ended.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        failure = f"the task agent could not be started: {error}"
    finally:
        held.close()
    if failure and not directory.agent_lives() and not directory.is_over():
        directory.append("start_failed", reason=f"ResourceInitializationError: {failure}{_tail(directory.agent_log)}")


def _tail(path: Path) -> str:
    """The last line of a traceback, as ": line"."""
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1][:500]}" if lines else ""
    return ""


def _kill_task(directory: TaskDirectory, agent: int) -> None:
    """SIGKILL to the task's group, if it is still the one that this living agent started."""
    started = next((record for record in directory.read_events()[0] if record["kind"] == "started"), None)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if started and os.getsid(started["pid"]) == agent:
            os.killpg(started["pid"], signals.SIGKILL)


def _destroy(directory: TaskDirectory) -> None:
    agent = directory.read_agent()
    give_up_at = time.monotonic() + AGENT_END_TIMEOUT_S
    while directory.agent_lives():
        agent = agent or directory.read_agent()
        if agent:
            _kill_task(directory, agent.pid)
            if time.monotonic() > give_up_at:
                os.kill(agent.pid, signals.SIGKILL)
        if time.monotonic() > give_up_at + 1:
            raise Temporary(
                f"task {directory.task_id}: its agent does not end", hint=f"see {directory.agent_log} and try again"
            )
        time.sleep(0.005)
    if agent and not directory.is_over():
        kill_leftovers(directory)
    grave = directory.path.with_name(f".removed-{directory.task_id}")
    with contextlib.suppress(FileNotFoundError):
        directory.path.rename(grave)  # gone at once for everybody, also if we are killed here
    shutil.rmtree(grave, ignore_errors=True)
