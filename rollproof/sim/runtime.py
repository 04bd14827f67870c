"""The Runtime port for tasks in one process: each is a SimProcess with a host of its own."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal as signals
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from rollproof.core.errors import UsageError
from rollproof.core.events import (
    ContainerEvent,
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
    ContainerStartFailed,
)
from rollproof.core.settings import ContainerHealthCheck, HealthCheck
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.ports import FoundTask, TaskSpec
from rollproof.orchestrator.runtimes.container_health import HealthCheckSettings, HealthCount
from rollproof.orchestrator.runtimes.start_failures import pull_failure
from rollproof.sim.network import Network
from rollproof.sim.process import Programme, SimProcess
from rollproof.sim.programmes import BUILT_IN

_URL_PATH = re.compile(r"https?://[^/\s'\"]+(/[^\s'\"]*)")


@dataclass
class _Task:
    spec: TaskSpec
    process: SimProcess
    address: str


class SimRuntime:
    """`images` says what runs in a task of each image; a command of the task definition names one of BUILT_IN."""

    def __init__(self, network: Network, images: Mapping[str, Programme], *, health_path: str = "/") -> None:
        self._network, self._images, self._health_path = network, dict(images), health_path
        self._tasks: dict[str, _Task] = {}
        self._news: list[ContainerEvent] = []
        self._watchers: list[asyncio.Queue[ContainerEvent]] = []
        self._hosts = itertools.count(4)  # AWS keeps a subnet's first four addresses
        self._checks: dict[str, asyncio.Task[None]] = {}
        self.wrap: Callable[[TaskSpec, Programme], Programme] = lambda _spec, programme: programme

    def process(self, task_id: str) -> SimProcess:
        """Raises KeyError for a task that is not there."""
        return self._tasks[task_id].process

    async def start(self, spec: TaskSpec) -> None:
        if spec.task_id in self._tasks:
            return
        programme = BUILT_IN.get(spec.definition.command) or self._images.get(spec.definition.image)
        if programme is None:
            self._tell(ContainerStartFailed(spec.task_id, pull_failure(spec.definition.image)))
            return
        number = next(self._hosts)
        host = f"10.0.{number // 256}.{number % 256}"
        port = spec.definition.container_port
        injected = {"HOST": "0.0.0.0", "PORT": str(port), "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}  # noqa: S104
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        process = SimProcess(
            spec.task_id,
            host,
            {**spec.environment, **injected},
            self._network,
            spec.log_path,
            lambda code: self._exited(spec.task_id, code),
        )
        self._tasks[spec.task_id] = _Task(spec, process, f"{host}:{port}")
        process.start(self.wrap(spec, programme))
        self._tell(ContainerStarted(spec.task_id, f"{host}:{port}"))
        if (check := spec.definition.health_check) is not None and check.command != ("NONE",):
            self._checks[spec.task_id] = asyncio.create_task(self._check_health(spec.task_id, check))

    async def signal(self, task_id: str, signal: str) -> None:
        number = getattr(signals, signal, None) if signal.startswith("SIG") else None
        if number is None:
            raise UsageError(f"signal {signal!r} cannot be sent to a task", hint="SIGTERM or SIGKILL")
        if task_id in self._tasks:
            self._tasks[task_id].process.send_signal(number)

    async def watch(self) -> AsyncIterator[ContainerEvent]:
        news: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        for event in self._news:
            news.put_nowait(event)
        self._watchers.append(news)
        try:
            while True:
                yield await news.get()
        finally:
            self._watchers.remove(news)

    async def describe(self) -> list[FoundTask]:
        return [FoundTask(task_id, task.address, task.process.exit_code) for task_id, task in self._tasks.items()]

    async def remove(self, task_id: str) -> None:
        task = self._tasks.pop(task_id, None)
        self._news = [event for event in self._news if event.task_id != task_id]
        if task is not None:
            task.process.send_signal(signals.SIGKILL)

    async def close(self) -> None:
        for task_id in list(self._tasks):
            await self.remove(task_id)
        for check in self._checks.values():
            check.cancel()

    def _exited(self, task_id: str, code: int) -> None:
        if check := self._checks.pop(task_id, None):
            check.cancel()
        if task_id in self._tasks:
            self._tell(ContainerExited(task_id, code))

    def _tell(self, event: ContainerEvent) -> None:
        self._news = [x for x in self._news if (type(x), x.task_id) != (type(event), event.task_id)] + [event]
        for news in self._watchers:
            news.put_nowait(event)

    async def _check_health(self, task_id: str, check: ContainerHealthCheck) -> None:
        """The container's own check. Differs from AWS: instead of its command, a GET to the URL that the command names,
        or else to the target group's path."""
        task = self._tasks[task_id]
        found = _URL_PATH.search(" ".join(check.command))
        asked = HealthCheck(path=found[1] if found else self._health_path, timeout_s=check.timeout_s, matcher="200-399")
        settings = HealthCheckSettings((), check.interval_s, check.timeout_s, check.retries, check.start_period_s)
        loop, count, checker = asyncio.get_running_loop(), HealthCount(), HealthChecker()
        begun_at = loop.time()
        while True:
            await asyncio.sleep(check.interval_s)
            answer = await checker.check("container", task_id, task.address, asked)
            is_ok = answer.status is not None and answer.status < 400
            before, count = count, count.after(0 if is_ok else 1, loop.time() - begun_at, settings)
            if count.healthy is not None and count.healthy != before.healthy:
                self._tell(ContainerHealthChanged(task_id, count.healthy))
