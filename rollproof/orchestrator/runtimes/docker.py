"""The `docker` runtime: each ECS task is a container of the Compose project.

What a container is made with stands in docker_container.py. The Engine keeps what happens to containers; this
module asks it, and keeps on disk only what the Engine cannot know (the layout of task_directory.py):

    tasks/<task id>/task.json      facts of the metadata endpoint, address, log file
    tasks/<task id>/events.jsonl   a start that failed, task protection, that the stop signal was sent
    last-address                   where the next address is looked for

So another DockerRuntime over the same project and directory adopts every task, with its exit code.

Guarantees, beyond the port's (orchestrator/ports.py):
- `start` returns at once; the container is made in the background. Starting a task again changes nothing.
- `watch` is level-triggered: an event of the Engine only says "look again", and every few seconds it looks
  anyway. So of what happened between two looks it tells the end, and a start before an exit.
- A task whose start failed is not in `describe`; `watch` tells of it.
- Nothing is pulled. An image that is not named in `images`, or not on this machine, cannot be pulled.

Signals. API-ECS StopTask: to PID 1 of the container, and to nobody else; without a handler PID 1 ignores SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal as signals
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from rollproof.core.errors import Permanent, RollproofError, UsageError
from rollproof.core.events import (
    ContainerEvent,
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
)
from rollproof.orchestrator.ports import FoundTask, TaskSpec
from rollproof.orchestrator.runtimes.docker_addresses import next_address, task_addresses
from rollproof.orchestrator.runtimes.docker_container import (
    ComposeProject,
    ContainerState,
    DockerImage,
    container_config,
    container_state,
    create_refused,
    is_address_taken,
    label_filters,
    start_refused,
)
from rollproof.orchestrator.runtimes.docker_endpoint import EndpointTask, TaskEndpoints
from rollproof.orchestrator.runtimes.docker_engine import Engine, Refused, Stream
from rollproof.orchestrator.runtimes.docker_facts import protection_of, resource_sample, task_condition
from rollproof.orchestrator.runtimes.docker_logs import LogCopies
from rollproof.orchestrator.runtimes.launch_plan import task_facts
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition, TaskFacts
from rollproof.orchestrator.runtimes.start_failures import log_failure, pull_failure
from rollproof.orchestrator.runtimes.task_agent import FORWARDED
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory, write_json
from rollproof.orchestrator.runtimes.task_news import container_event
from rollproof.orchestrator.runtimes.task_protection import Protection

__all__ = ["ComposeProject", "DockerImage", "DockerRuntime"]

log = logging.getLogger(__name__)

ADDRESS_ATTEMPTS = 5
LOG_PATIENCE_S = 5.0
KINDS_ON_DISK = ("start_failed", "protection")


class DockerRuntime:
    """Tasks as containers of `project`. Between `open` and `close`.

    `images` maps image names, exactly as task definitions write them, to images on this machine. `endpoint` is
    where the task endpoints listen and the name under which containers reach them. `speed`: rehearsal seconds in
    a real second; it shortens task protection. Durations inside a TaskDefinition are taken as real seconds.
    """

    def __init__(
        self,
        directory: Path,
        project: ComposeProject,
        images: Mapping[str, DockerImage],
        *,
        engine: Engine,
        endpoint: tuple[str, int, str],
        speed: float = 1.0,
        poll_s: float = 2.0,
    ) -> None:
        self._root = directory.absolute()
        self._tasks = self._root / "tasks"
        self._project, self._images, self._speed, self._poll_s = project, images, speed, poll_s
        self._engine, self._logs = engine, LogCopies(engine)
        host, port, name = endpoint
        self._endpoints = TaskEndpoints(self._endpoint_task, host=host, port=port, name=name, speed=speed)
        self._pool: list[str] = []
        self._subnet = ""
        self._busy: dict[str, asyncio.Lock] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._bells: set[asyncio.Event] = set()

    async def open(self) -> None:
        """Raises Permanent where the network or the directory cannot be used, Temporary where no Engine answers."""
        try:
            self._tasks.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Permanent(
                f"cannot keep tasks in {self._root}: {error}", hint="give a directory that can be written"
            ) from error
        network = await self._engine.network(self._project.network)
        if network is None:
            raise Permanent(f"there is no network {self._project.network}", hint="docker compose up -d")
        self._pool = task_addresses(network)
        self._subnet = network["IPAM"]["Config"][0]["Subnet"]
        await self._endpoints.open()

    async def close(self) -> None:
        """Let go; the containers stay."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await self._endpoints.close()
        self._engine.close()

    # -- the port -------------------------------------------------------------------------------------------------

    async def start(self, spec: TaskSpec) -> None:
        """Raises UsageError for a definition that ECS would not register."""
        directory = TaskDirectory(self._tasks / spec.task_id)
        if not directory.exists():
            address = self._choose_address(spec.definition.container_port)
            container_config(
                spec, self._project, DockerImage(""), address or ":0", {}, 1
            )  # a wrong health check: now, not later
            self._write(directory, spec, address or "")
            if address is None:
                self._fail(directory, "ResourceInitializationError: no address is free in the subnet of the tasks")
        if not directory.is_over():
            starting = asyncio.create_task(self._bring_up(spec, directory), name=f"start {spec.task_id[:8]}")
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def signal(self, task_id: str, signal: str) -> None:
        """Raises UsageError for a signal that no container could be sent."""
        number = signals.Signals.__members__.get(signal)
        if number is None or (number != signals.SIGKILL and number not in FORWARDED):
            known = ", ".join(one.name for one in FORWARDED)
            raise UsageError(f"signal {signal!r} cannot be sent to a task", hint=f"SIGKILL or one of {known}")
        async with self._alone(task_id):
            directory = TaskDirectory(self._tasks / task_id)
            if directory.exists() and number != signals.SIGKILL:
                directory.append("signalled", signal=signal)
            await self._engine.kill(self._project.container_name(task_id), signal)

    async def watch(self) -> AsyncIterator[ContainerEvent]:
        told: dict[tuple[str, type], object] = {}
        bell, loop = asyncio.Event(), asyncio.get_running_loop()
        self._bells.add(bell)

        def ring() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(bell.set)

        stream: Stream | None = None
        try:
            while True:
                bell.clear()
                if stream is None or stream.is_over:
                    stream = self._engine.follow_events(label_filters(self._project), ring)
                for key, fact, event in await self._present():
                    if told.get(key) != fact:
                        told[key] = fact
                        yield event
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await bell.wait()
        finally:
            self._bells.discard(bell)
            if stream is not None:
                stream.stop()

    async def describe(self) -> list[FoundTask]:
        return [
            FoundTask(state.task_id, state.address, state.exit_code if state.has_exited else None)
            for state in await self._states()
            if state.has_started
        ]

    async def cpu_seconds(self) -> dict[str, float]:
        """What each running task has used since it started."""
        running = [x.task_id for x in await self._states() if x.status == "running"]
        stats = await asyncio.gather(*(self._engine.stats(self._project.container_name(x)) for x in running))
        samples = ((task_id, resource_sample(found or {})) for task_id, found in zip(running, stats, strict=True))
        return {task_id: sample.cpu_s for task_id, sample in samples if sample is not None}

    async def remove(self, task_id: str) -> None:
        """Raises Temporary if no Engine answers. The log file stays."""
        async with self._alone(task_id):
            name = self._project.container_name(task_id)
            await self._engine.kill(name, "SIGKILL")
            await self._logs.finish(name, LOG_PATIENCE_S)
            await self._engine.remove(name)
            self._endpoints.forget(task_id)
            shutil.rmtree(self._tasks / task_id, ignore_errors=True)
        self._busy.pop(task_id, None)

    async def remove_all(self) -> None:
        """Every task container of the project, whoever made it."""
        for name in await self._engine.names(label_filters(self._project)):
            state = await self._state(name)
            if state is not None:
                await self.remove(state.task_id)

    async def stop_signal_of(self, image: str) -> str:
        """The STOPSIGNAL of an image on this machine, by name; "" if it names none, or is not here."""
        found = await self._engine.image(image)
        named = str((found or {}).get("Config", {}).get("StopSignal") or "")
        return signals.Signals(int(named)).name if named.isdigit() else named

    # -- starting -------------------------------------------------------------------------------------------------

    def _alone(self, task_id: str) -> asyncio.Lock:
        return self._busy.setdefault(task_id, asyncio.Lock())

    async def _bring_up(self, spec: TaskSpec, directory: TaskDirectory) -> None:
        async with self._alone(spec.task_id):
            if not directory.exists() or directory.is_over():
                return  # removed, or failed, before its turn came
            name = self._project.container_name(spec.task_id)
            try:
                reason = await self._try_to_start(name, spec, directory)
            except RollproofError as error:
                reason = f"CannotCreateContainerError: {error.message}"
            if reason:
                with contextlib.suppress(RollproofError):
                    await self._engine.remove(name)
                self._fail(directory, reason)
        self._ring()

    async def _try_to_start(self, name: str, spec: TaskSpec, directory: TaskDirectory) -> str:
        """Why it cannot be started, in ECS's words; "" once it is."""
        image = self._images.get(spec.definition.image)
        if image is None:
            return pull_failure(spec.definition.image)
        try:
            _check_writable(spec.log_path)
        except OSError as error:
            return log_failure(error)
        for _ in range(ADDRESS_ATTEMPTS):
            state = await self._state(name)
            if state is None:
                refused = await self._create(name, spec, image, directory)
                if refused:
                    return refused
            elif state.has_started:
                return ""
            try:
                await self._engine.start(name)
            except Refused as error:
                if not is_address_taken(error.explanation):
                    return start_refused(error.explanation)
                await self._engine.remove(name)
                self._write(directory, spec, self._choose_address(spec.definition.container_port) or "")
            else:
                return ""
        return f"ResourceInitializationError: {ADDRESS_ATTEMPTS} addresses of the subnet were in use"

    async def _create(self, name: str, spec: TaskSpec, image: DockerImage, directory: TaskDirectory) -> str:
        address = str(directory.read_task()["address"])
        injected = self._injected(spec, self._facts(directory).docker_id)
        config = container_config(spec, self._project, image, address, injected, os.cpu_count() or 1)
        try:
            await self._engine.create(name, config)
        except Refused as error:
            if error.status == 404 and "image" in error.explanation.lower():
                return pull_failure(spec.definition.image)
            return create_refused(error.explanation)
        return ""

    def _injected(self, spec: TaskSpec, docker_id: str) -> dict[str, str]:
        region = spec.task_arn.split(":")[3] if spec.task_arn.count(":") >= 5 else ""
        return {
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            **self._endpoints.environment(docker_id),
        }

    def _choose_address(self, port: int) -> str | None:
        """The next free address. Nothing is awaited between this and `_write`, so no other task gets it."""
        taken = {str(other.read_task()["address"]).rpartition(":")[0] for other in self._directories()}
        marker = self._root / "last-address"
        last = marker.read_text(encoding="utf-8") if marker.exists() else ""
        address = next_address(self._pool, taken, last)
        if address is None:
            return None
        marker.write_text(address, encoding="utf-8")
        return f"{address}:{port}"

    def _write(self, directory: TaskDirectory, spec: TaskSpec, address: str) -> None:
        facts = task_facts(spec, time.time())._asdict()
        directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_path = str(spec.log_path.absolute())
        write_json(directory.task, {"facts": facts, "address": address, "log_path": log_path})

    def _fail(self, directory: TaskDirectory, reason: str) -> None:
        directory.append("start_failed", reason=reason)
        self._ring()

    # -- looking --------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def _directories(self) -> list[TaskDirectory]:
        names = sorted(path.name for path in self._tasks.iterdir())
        return [directory for name in names if (directory := TaskDirectory(self._tasks / name)).exists()]

    async def _state(self, name: str) -> ContainerState | None:
        inspection = await self._engine.inspect(name)
        return None if inspection is None else container_state(inspection)

    async def _states(self) -> list[ContainerState]:
        names = await self._engine.names(label_filters(self._project))
        found = await asyncio.gather(*(self._state(name) for name in names))
        return sorted((state for state in found if state is not None), key=lambda state: state.started_at or 0.0)

    async def _present(self) -> list[tuple[tuple[str, type], object, ContainerEvent]]:
        """Everything that holds now, as (whose and what, the fact to compare, the event that tells it)."""
        present: list[tuple[tuple[str, type], object, ContainerEvent]] = []
        states = [state for state in await self._states() if state.has_started]
        for state in states:
            self._copy_log(state.task_id)
            present += [((event.task_id, type(event)), event, event) for event in _events_of(state)]
        now = time.time()
        for directory in self._directories():
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                for record in directory.read_events()[0]:
                    if record["kind"] in KINDS_ON_DISK:
                        told = container_event(directory.task_id, "", record, now, self._speed)
                        present.append(((told.task_id, type(told)), record["at"], told))
        return sorted(present, key=lambda one: isinstance(one[2], ContainerExited))  # a task's end comes last

    def _copy_log(self, task_id: str) -> None:
        directory = TaskDirectory(self._tasks / task_id)
        try:
            self._logs.begin(self._project.container_name(task_id), Path(directory.read_task()["log_path"]))
        except FileNotFoundError:
            pass  # a container that this directory knows nothing of
        except OSError as error:
            log.warning("task %s: its log is not copied: %s", task_id, error)

    # -- the task endpoints -----------------------------------------------------------------------------------------

    def _facts(self, directory: TaskDirectory) -> TaskFacts:
        return TaskFacts(**directory.read_task()["facts"])

    def _endpoint_task(self, task_id: str) -> EndpointTask | None:
        directory = TaskDirectory(self._tasks / task_id)
        if not directory.exists():
            return None
        name = self._project.container_name(task_id)

        async def condition() -> TaskCondition:
            return task_condition(await self._state(name), directory.read_events()[0])

        async def sample() -> ResourceSample | None:
            stats = await self._engine.stats(name)
            return None if stats is None else resource_sample(stats)

        def protect(granted: Protection) -> None:
            directory.append("protection", **granted._asdict())
            self._ring()

        return EndpointTask(
            self._facts(directory),
            str(directory.read_task()["address"]),
            self._subnet,
            condition,
            sample,
            protect,
            protection_of(directory.read_events()[0]),
        )


def _events_of(state: ContainerState) -> list[ContainerEvent]:
    """What the Engine knows of a container that has started."""
    events: list[ContainerEvent] = [ContainerStarted(state.task_id, state.address)]
    if state.status == "running" and state.health in ("healthy", "unhealthy"):
        events.append(ContainerHealthChanged(state.task_id, state.health == "healthy"))
    if state.has_exited:
        events.append(ContainerExited(state.task_id, state.exit_code, state.exit_reason))
    return events


def _check_writable(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("ab").close()
