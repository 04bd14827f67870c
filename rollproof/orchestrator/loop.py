"""The loop: one writer, one executor. Every event and a timer lead to the same question, `decide`.

Level-triggered: a lost event costs a tick, not a rollout. Commands are applied and acted on in order, and the
world is saved after that: if we are killed in between, the next orchestrator decides the same again from the
older world (ids come from counters), and every act is idempotent.

What the world outside refuses for the moment (`Temporary`: a full disk, a balancer that does not answer) is owed
and tried again about every second; `trouble` says what it was. What it refuses for good is a task that failed to
start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import names
from rollproof.core.decide import decide, next_wakeup
from rollproof.core.describe import describe
from rollproof.core.errors import RollproofError, Temporary
from rollproof.core.settings import HealthCheck
from rollproof.core.world import World, apply
from rollproof.history import Recorder
from rollproof.orchestrator.ports import Balancer, Runtime, Store, TaskSpec
from rollproof.orchestrator.publishing import TablePublisher
from rollproof.orchestrator.recording import WorldRecorder
from rollproof.orchestrator.stage_state import StageState

log = logging.getLogger(__name__)
ContainerCommand = c.StartContainer | c.SignalContainer | c.KillContainer | c.RemoveContainer

_MOST_STEPS = 10_000
_RETRY_S = 1.0


class Checker(Protocol):
    """Sends one health check over real HTTP. Never raises."""

    async def check(
        self, node: str, target_id: str, address: str, health_check: HealthCheck
    ) -> e.HealthCheckAnswered: ...


class Orchestrator:
    """Holds the world of one service and acts for it until `run` is cancelled.

    `secrets` are environment variables that every task gets on top of its definition's (REDIS_URL).
    `requests_recorded`: so many entries of the access log are in the history already.
    """

    def __init__(
        self,
        state: StageState,
        *,
        runtime: Runtime,
        balancer: Balancer,
        checker: Checker,
        store: Store,
        recorder: Recorder,
        logs: Path,
        secrets: Mapping[str, str],
        requests_recorded: int = 0,
    ) -> None:
        self.world, self.clock, self._is_adopted = state.world, state.clock, state.is_adopted
        self.trouble = ""
        self._runtime, self._balancer, self._checker, self._store = runtime, balancer, checker, store
        self._recorder, self._changes = recorder, WorldRecorder(recorder)
        self._logs, self._secrets = logs, secrets
        self._requests_recorded = requests_recorded
        self._tables = TablePublisher(balancer, recorder, state.generation, state.cuts)
        self._inbox: asyncio.Queue[e.Event | None] = asyncio.Queue()
        self._told: deque[e.Event] = deque()
        self._checks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self._owed: deque[ContainerCommand] = deque()
        self._is_saved = False

    # -- for those who use it -----------------------------------------------------------------------------

    def tell(self, event: e.Event) -> None:
        """An event to be applied on the loop's next turn."""
        self._inbox.put_nowait(event)

    def republish(self) -> None:
        """Give the balancer its table again, now: it is a new one and has none."""
        self._tables.refresh_later()
        self._inbox.put_nowait(None)

    def describe(self) -> dict[str, Any]:
        return describe(self.world, self.clock.now())

    async def wait_steady(self) -> None:
        """Returns when the service has reached a steady state. Wrap it in a timeout: AWS may never get there."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.world.is_steady)

    async def wait_for(self, condition: Callable[[World], bool]) -> None:
        """Returns when `condition(world)` holds."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.world))

    # -- the loop -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. With an adopted state, first takes over the tasks that an earlier orchestrator left."""
        self._recorder.record("orchestrator", event="adopted" if self._is_adopted else "started")
        if self._is_adopted:
            self._changes.adopt(self.world, self.clock.now())
            await self._adopt()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._follow_access_log())
            try:
                await self._turns()
            finally:
                for check in self._checks:
                    check.cancel()

    async def _turns(self) -> None:
        while True:
            asked_at = await self._turn()
            wait_s = max(0.0, next_wakeup(self.world, asked_at) - self.clock.now())
            if self.trouble:
                wait_s = min(wait_s, _RETRY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # not wait_for: Python 3.11's may swallow a cancellation
                    self._hear(await self._inbox.get())

    def _hear(self, event: e.Event | None) -> None:
        if event is not None:
            self._told.append(event)

    async def _turn(self) -> float:
        """Everything that is to be done now. Returns that now: what came due while acting is due at once."""
        now, before, self.trouble = self.clock.now(), self.world, ""
        await self._make_up(now)
        while not self._inbox.empty():
            self._hear(self._inbox.get_nowait())
        while self._told:
            self.world = apply(self.world, self._told.popleft(), now)
        for _ in range(_MOST_STEPS):
            commands = decide(self.world, now)
            if not commands:
                break
            for command in commands:
                self.world = apply(self.world, command, now)
                await self._act(command, now)
        else:
            raise RuntimeError(f"decide does not come to rest: {commands[:3]}")
        self._changes.changed(self.world, now)
        await self._publish(now)
        if self.world is not before or not self._is_saved:
            self._save()
        if self.world is not before:
            async with self._changed:
                self._changed.notify_all()
        return now

    async def _act(self, command: c.Command, now: float) -> None:
        """What of a command reaches the world outside. Commands without a case change the record only."""
        match command:
            case c.StartContainer() | c.SignalContainer() | c.KillContainer() | c.RemoveContainer():
                if not await self._tell_runtime(command, now):
                    self._owed.append(command)
            case c.RemoveTarget(target_id=target_id):
                self._tables.cut_later(target_id)
            case c.CheckHealth(node=node, target_id=target_id):
                self._check(node, target_id)
            case c.ScheduleTick():  # a balancer that was restarted in between has no table
                self._tables.refresh_later()
            case _:
                pass

    async def _make_up(self, now: float) -> None:
        """What the runtime refused on earlier turns, in order."""
        for _ in range(len(self._owed)):
            command = self._owed.popleft()
            if not await self._tell_runtime(command, now):
                self._owed.append(command)

    async def _tell_runtime(self, command: ContainerCommand, now: float) -> bool:
        """False where it is refused for now, or has to wait for an earlier command about the same task."""
        task_id = command.task_id
        if any(owed.task_id == task_id for owed in self._owed):
            return False
        try:
            match command:
                case c.StartContainer():
                    await self._start(task_id)
                case c.SignalContainer():
                    definition = self.world.definitions[self.world.tasks[task_id].definition]
                    await self._signal(task_id, definition.stop_signal, now)
                case c.KillContainer():
                    await self._signal(task_id, "SIGKILL", now)
                case c.RemoveContainer():
                    await self._runtime.remove(task_id)
        except Temporary as error:
            self._note_trouble(f"task {task_id}", error)
            return False
        return True

    async def _start(self, task_id: str) -> None:
        """A definition that no runtime can start is, to ECS, a task that failed to start."""
        try:
            await self._runtime.start(self._spec(task_id))
        except Temporary:
            raise
        except RollproofError as error:
            self.tell(e.ContainerStartFailed(task_id, f"ResourceInitializationError: {error.message}"))

    def _note_trouble(self, what: str, error: Temporary) -> None:
        self.trouble = error.message
        log.info("%s: %s; it is tried again", what, error.message)

    async def _signal(self, task_id: str, name: str, now: float) -> None:
        task = self.world.tasks[task_id]
        self._recorder.record(
            "task", t=now, task_id=task_id, known=task.known.name, desired=task.desired.value,
            deployment=task.deployment_id, signal=name,
        )  # fmt: skip
        await self._runtime.signal(task_id, name)

    def _spec(self, task_id: str) -> TaskSpec:
        task, service = self.world.tasks[task_id], self.world.settings.service
        definition = self.world.definitions[task.definition]
        return TaskSpec(
            task_id=task_id,
            task_arn=names.task_arn(service, task_id),
            cluster_arn=names.cluster_arn(service),
            service=service.name,
            availability_zone=task.availability_zone,
            definition=definition,
            environment={**definition.environment, **self._secrets, "AWS_REGION": service.region},
            log_path=self._logs / f"{task_id}.log",
            metadata={},
        )

    def _check(self, node: str, target_id: str) -> None:
        async def ask() -> None:
            settings = self.world.settings.target_group.health_check
            self.tell(await self._checker.check(node, target_id, target_id, settings))

        check = asyncio.create_task(ask())
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    # -- the balancer -----------------------------------------------------------------------------------------

    async def _publish(self, now: float) -> None:
        try:
            await self._tables.publish(self.world, now)
        except Temporary as error:
            self._note_trouble("the balancer did not take the table", error)

    async def _follow_access_log(self) -> None:
        """Each entry is recorded once, also by an orchestrator that comes after a killed one."""
        number = 0
        async for _, entry in self._balancer.access_log(0):
            number += 1
            if number > self._requests_recorded:
                at = datetime.fromisoformat(entry.time).timestamp()
                self._recorder.record("request", t=at - self.clock.started_at, **asdict(entry))

    # -- tasks that are there -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async for event in self._runtime.watch():
            self.tell(event)

    async def _adopt(self) -> None:
        """Make the runtime and the world agree: what is gone has exited, what nobody knows is removed."""
        found = {task.task_id: task for task in await self._runtime.describe()}
        for task in self.world.tasks.values():
            if not task.has_container or task.id in found:
                continue
            if task.address:
                self.tell(e.ContainerExited(task.id, 137, "Task was gone when the orchestrator came back"))
            else:
                await self._act(c.StartContainer(task.id), self.clock.now())
        known = {x.id for x in self.world.tasks.values() if not x.container_removed}
        for task_id in [task_id for task_id in found if task_id not in known]:
            await self._act(c.RemoveContainer(task_id), self.clock.now())

    def _save(self) -> None:
        state = StageState(self.world, self.clock, self._tables.generation, tuple(self._tables.cuts))
        try:
            self._store.save(state.to_json())
            self._is_saved = True
        except Temporary as error:
            self._note_trouble("the state is not saved", error)
            self._is_saved = False
