"""What every `Runtime` promises, as a suite that the fake and each real one pass.

    class TestProcessRuntimeKeepsTheContract(RuntimeContract):
        @pytest.fixture
        async def stage(self, tmp_path): ...  # yields a RuntimeStage

A stage knows how to make the behaviours below come true on its runtime, and how to lose the runtime and get
another one over the same tasks, as after a `kill -9` of the orchestrator.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from rollproof.core.errors import UsageError
from rollproof.core.events import (
    ContainerEvent,
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
    ContainerStartFailed,
    TaskProtectionChanged,
)
from rollproof.core.settings import TaskDefinition
from rollproof.orchestrator.ports import FoundTask, Runtime, TaskSpec

DEADLINE_S = 10.0
"""For anything to happen that must: generous, since it is reached only by a failing test."""

E = TypeVar("E", bound=ContainerEvent)


class Behaviour(StrEnum):
    """What a task of the suite does. A stage uses the names as image names."""

    STEADY = "steady"  # runs until SIGTERM, of which it dies with 143
    STUBBORN = "stubborn"  # takes no notice of SIGTERM
    ENDS_WITH_7 = "ends-with-7"  # at once, by itself
    NOT_PULLABLE = "not-pullable"  # no such image
    NOT_EXECUTABLE = "not-executable"  # no such program
    BECOMES_HEALTHY = "becomes-healthy"  # its container health check passes
    TURNS_UNHEALTHY = "turns-unhealthy"  # its container health check fails, again and again
    PROTECTS_ITSELF = "protects-itself"  # asks for scale-in protection of 30 minutes


class RuntimeStage(Protocol):
    """One runtime under test."""

    @property
    def runtime(self) -> Runtime: ...

    def spec(self, task_id: str, behaviour: Behaviour) -> TaskSpec:
        """A task that behaves so."""

    def replace_runtime(self) -> Runtime:
        """Drop `runtime` without a word to it; a new one over the same tasks, which `runtime` now gives."""


class EventLog:
    """Follows a runtime's `watch` in the background; waits for what is to come, with a deadline."""

    def __init__(self, runtime: Runtime) -> None:
        self.events: list[ContainerEvent] = []
        self._runtime = runtime
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> EventLog:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    def of(self, task_id: str) -> list[ContainerEvent]:
        return [event for event in self.events if event.task_id == task_id]

    async def wait_for(self, kind: type[E], task_id: str, matching: Callable[[E], bool] = lambda _: True) -> E:
        """The first such event, past ones included."""

        def found() -> E | None:
            return next((e for e in self.of(task_id) if isinstance(e, kind) and matching(e)), None)

        async with self._changed:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._changed.wait_for(lambda: found() or self._following.done())
            except TimeoutError:
                raise AssertionError(f"no {kind.__name__} of {task_id}; seen: {self.events}") from None
        event = found()
        if event is None:
            await self._following  # raises what ended it
            raise AssertionError(f"watch ended; seen: {self.events}")
        return event

    async def _follow(self) -> None:
        watching = self._runtime.watch()
        try:
            async for event in watching:
                async with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()
            if isinstance(watching, AsyncGenerator):
                await watching.aclose()


def make_spec(task_id: str, definition: TaskDefinition, log_directory: Path) -> TaskSpec:
    """A spec with the names that AWS's own examples use."""
    return TaskSpec(
        task_id=task_id,
        task_arn=f"arn:aws:ecs:us-east-1:123456789012:task/mcp-cluster/{task_id}",
        cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/mcp-cluster",
        service="mcp-service",
        availability_zone="us-east-1a",
        definition=definition,
        environment=dict(definition.environment),
        log_path=log_directory / f"{task_id}.log",
        metadata={},
    )


class RuntimeContract:
    """Subclass it, and give it a fixture `stage` that yields a RuntimeStage and leaves nothing running."""

    @pytest.fixture
    async def log(self, stage: RuntimeStage) -> AsyncIterator[EventLog]:
        async with EventLog(stage.runtime) as log:
            yield log

    @pytest.fixture
    def new_id(self) -> Callable[[], str]:
        numbers = itertools.count(1)
        return lambda: f"{next(numbers):032x}"

    async def test_a_started_task_is_reported_and_described(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        started = await log.wait_for(ContainerStarted, task)
        host, _, port = started.address.rpartition(":")
        assert host
        assert 0 < int(port) < 65_536
        assert await stage.runtime.describe() == [FoundTask(task, started.address, None)]

    @pytest.mark.fidelity("ECS-TASK-24", source="O12; O6", mark="observed")
    async def test_sigterm_ends_a_task_with_143(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        started = await log.wait_for(ContainerStarted, task)
        await stage.runtime.signal(task, "SIGTERM")
        assert (await log.wait_for(ContainerExited, task)).exit_code == 143
        assert await stage.runtime.describe() == [FoundTask(task, started.address, 143)]

    @pytest.mark.fidelity("ECS-TASK-24", source="O12; O6", mark="observed")
    async def test_sigkill_ends_a_stubborn_task_with_137(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.STUBBORN))
        await log.wait_for(ContainerStarted, task)
        await stage.runtime.signal(task, "SIGTERM")
        await stage.runtime.signal(task, "SIGKILL")
        assert (await log.wait_for(ContainerExited, task)).exit_code == 137

    async def test_a_task_that_ends_by_itself_gives_its_own_exit_code(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.ENDS_WITH_7))
        assert (await log.wait_for(ContainerExited, task)).exit_code == 7
        assert isinstance(log.of(task)[0], ContainerStarted)

    @pytest.mark.fidelity("ECS-TASK-29", source="ECS-DG/stopped-task-error-codes", mark="doc")
    @pytest.mark.parametrize(
        ("behaviour", "error"),
        [
            (Behaviour.NOT_PULLABLE, "CannotPullContainerError: "),
            (Behaviour.NOT_EXECUTABLE, "CannotStartContainerError: "),
        ],
    )
    async def test_a_failed_start_is_reported_in_the_words_of_ecs(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str], behaviour: Behaviour, error: str
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, behaviour))
        assert (await log.wait_for(ContainerStartFailed, task)).reason.startswith(error)
        assert await stage.runtime.describe() == []

    @pytest.mark.parametrize(
        ("behaviour", "healthy"), [(Behaviour.BECOMES_HEALTHY, True), (Behaviour.TURNS_UNHEALTHY, False)]
    )
    async def test_container_health_is_reported(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str], behaviour: Behaviour, healthy: bool
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, behaviour))
        assert (await log.wait_for(ContainerHealthChanged, task)).healthy is healthy

    @pytest.mark.fidelity("ECS-DEPLOY-50", source="ECS-DG/task-scale-in-protection-endpoint", mark="doc")
    async def test_task_protection_is_reported(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.PROTECTS_ITSELF))
        protection = await log.wait_for(TaskProtectionChanged, task)
        assert protection == TaskProtectionChanged(task, True, 30)

    async def test_starting_a_task_twice_changes_nothing(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        first = await log.wait_for(ContainerStarted, task)
        await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
        assert await stage.runtime.describe() == [FoundTask(task, first.address, None)]

    async def test_tasks_have_addresses_of_their_own(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        tasks = [new_id() for _ in range(4)]
        await asyncio.gather(*(stage.runtime.start(stage.spec(task, Behaviour.STEADY)) for task in tasks))
        assert len({(await log.wait_for(ContainerStarted, task)).address for task in tasks}) == 4

    async def test_a_signal_to_a_task_that_is_gone_is_no_error(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.signal("f" * 32, "SIGTERM")
        await stage.runtime.start(stage.spec(task, Behaviour.ENDS_WITH_7))
        await log.wait_for(ContainerExited, task)
        await stage.runtime.signal(task, "SIGTERM")
        await stage.runtime.signal(task, "SIGKILL")
        assert (await stage.runtime.describe())[0].exit_code == 7

    async def test_an_unknown_signal_is_refused(self, stage: RuntimeStage, new_id: Callable[[], str]) -> None:
        with pytest.raises(UsageError, match="WINTER"):
            await stage.runtime.signal(new_id(), "WINTER")

    async def test_remove_ends_and_forgets_a_task_however_often(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        await stage.runtime.start(stage.spec(task, Behaviour.STUBBORN))
        await log.wait_for(ContainerStarted, task)
        await stage.runtime.remove(task)
        await stage.runtime.remove(task)
        assert await stage.runtime.describe() == []

    async def test_a_new_runtime_adopts_running_and_ended_tasks(
        self, stage: RuntimeStage, new_id: Callable[[], str]
    ) -> None:
        running, ended, unpulled = new_id(), new_id(), new_id()
        await stage.runtime.start(stage.spec(running, Behaviour.STEADY))
        await stage.runtime.start(stage.spec(ended, Behaviour.ENDS_WITH_7))
        await stage.runtime.start(stage.spec(unpulled, Behaviour.NOT_PULLABLE))
        async with EventLog(stage.runtime) as before:
            address = (await before.wait_for(ContainerStarted, running)).address
            await before.wait_for(ContainerExited, ended)

        runtime = stage.replace_runtime()

        found = {task.task_id: task for task in await runtime.describe()}
        assert found[running] == FoundTask(running, address, None)
        assert found[ended].exit_code == 7
        assert unpulled not in found
        async with EventLog(runtime) as after:
            assert (await after.wait_for(ContainerStarted, running)).address == address
            assert (await after.wait_for(ContainerExited, ended)).exit_code == 7
            await after.wait_for(ContainerStartFailed, unpulled)
            await runtime.signal(running, "SIGTERM")
            assert (await after.wait_for(ContainerExited, running)).exit_code == 143

    async def test_two_watchers_see_the_same(
        self, stage: RuntimeStage, log: EventLog, new_id: Callable[[], str]
    ) -> None:
        task = new_id()
        async with EventLog(stage.runtime) as other:
            await stage.runtime.start(stage.spec(task, Behaviour.STEADY))
            assert await log.wait_for(ContainerStarted, task) == await other.wait_for(ContainerStarted, task)
