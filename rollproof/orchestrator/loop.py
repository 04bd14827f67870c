"""The loop: one writer, one executor. Every event and a timer lead to the same question, `decide`.

Level-triggered: a lost event costs a tick, not a rollout. Commands are applied and acted on in order, and the
world is saved after that: if we are killed in between, the next orchestrator decides the same again from the
older world (ids come from counters), and every act is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core import names
from rollproof.core.decide import decide, next_wakeup, routing_table
from rollproof.core.describe import describe
from rollproof.core.errors import Temporary
from rollproof.core.routing_table import RoutingTable
from rollproof.core.settings import HealthCheck
from rollproof.core.world import World, apply
from rollproof.history import Recorder
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.ports import Balancer, Runtime, Store, TaskSpec
from rollproof.orchestrator.recording import WorldRecorder

log = logging.getLogger(__name__)
WORLD: TypeAdapter[World] = TypeAdapter(World)
_MOST_STEPS = 10_000
_RETRY_S = 1.0


class Checker(Protocol):
    """Sends one health check over real HTTP. Never raises."""

    async def check(
        self, node: str, target_id: str, address: str, health_check: HealthCheck
    ) -> e.HealthCheckAnswered: ...


class Orchestrator:
    """Holds the world of one service and acts for it until `stop`.

    `secrets` are environment variables that every task gets on top of its definition's (REDIS_URL).
    """

    def __init__(
        self,
        world: World,
        *,
        runtime: Runtime,
        balancer: Balancer,
        checker: Checker,
        store: Store,
        clock: StageClock,
        recorder: Recorder,
        logs: Path,
        secrets: Mapping[str, str],
        generation: int = 0,
        log_offset: int = 0,
    ) -> None:
        self.world = world
        self.clock = clock
        self._runtime, self._balancer, self._checker, self._store = runtime, balancer, checker, store
        self._recorder, self._changes = recorder, WorldRecorder(recorder)
        self._logs, self._secrets = logs, secrets
        self._generation, self._log_offset = generation, log_offset
        self._published: RoutingTable | None = None
        self._inbox: asyncio.Queue[e.Event] = asyncio.Queue()
        self._told: deque[e.Event] = deque()
        self._checks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self._cuts: list[str] = []
        self._is_refresh_due = False

    # -- for those who use it -----------------------------------------------------------------------------

    def tell(self, event: e.Event) -> None:
        """An event to be applied on the loop's next turn."""
        self._inbox.put_nowait(event)

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

    async def run(self, *, adopted: bool = False) -> None:
        """Until cancelled. With `adopted`, first takes over the tasks that an earlier orchestrator left."""
        self._recorder.record("orchestrator", event="adopted" if adopted else "started")
        if adopted:
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
            if self._published is None:
                wait_s = min(wait_s, _RETRY_S)
            try:
                self._told.append(await asyncio.wait_for(self._inbox.get(), wait_s))
            except TimeoutError:
                continue

    async def _turn(self) -> float:
        """Everything that is to be done now. Returns that now: what came due while acting is due at once."""
        now, before = self.clock.now(), self.world
        while not self._inbox.empty():
            self._told.append(self._inbox.get_nowait())
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
        if self.world is not before:
            self._save()
            async with self._changed:
                self._changed.notify_all()
        return now

    async def _act(self, command: c.Command, now: float) -> None:
        """What of a command reaches the world outside. Commands without a case change the record only."""
        match command:
            case c.StartContainer(task_id=task_id):
                await self._runtime.start(self._spec(task_id))
            case c.SignalContainer(task_id=task_id):
                definition = self.world.definitions[self.world.tasks[task_id].definition]
                await self._signal(task_id, definition.stop_signal, now)
            case c.KillContainer(task_id=task_id):
                await self._signal(task_id, "SIGKILL", now)
            case c.RemoveContainer(task_id=task_id):
                await self._runtime.remove(task_id)
            case c.RemoveTarget(target_id=target_id):
                self._cuts.append(target_id)
            case c.CheckHealth(node=node, target_id=target_id):
                self._check(node, target_id)
            case c.ScheduleTick():
                self._is_refresh_due = True
            case _:
                pass

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
        """Push the table where it changed; then cut what the table no longer has. Retried on the next turn.

        Once a tick the same table goes out again: a balancer that was restarted in between has none.
        """
        table = routing_table(self.world, now, self._generation)
        if self._published is None or replace(self._published, generation=0) != replace(table, generation=0):
            self._generation += 1
            table = replace(table, generation=self._generation)
        elif not self._cuts and not self._is_refresh_due:
            return
        else:
            table = self._published
        self._is_refresh_due = False
        try:
            await self._balancer.publish(table)
            self._published = table
            while self._cuts:
                cut = await self._balancer.cut(self._cuts[0])
                self._recorder.record("target", t=now, target_id=self._cuts.pop(0), state="unused", cut=cut)
        except Temporary as error:
            log.warning("the balancer did not take the table: %s", error)
            self._published = None

    async def _follow_access_log(self) -> None:
        async for offset, entry in self._balancer.access_log(self._log_offset):
            at = datetime.fromisoformat(entry.time).timestamp()
            self._recorder.record("request", t=at - self.clock.started_at, **asdict(entry))
            self._log_offset = offset

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
                await self._runtime.start(self._spec(task.id))
        for task_id in found.keys() - {x.id for x in self.world.tasks.values() if not x.container_removed}:
            await self._runtime.remove(task_id)

    def _save(self) -> None:
        self._store.save(
            {
                "world": WORLD.dump_python(self.world, mode="json"),
                "clock": self.clock.to_json(),
                "generation": self._generation,
                "log_offset": self._log_offset,
            }
        )


def load_world(state: Mapping[str, Any]) -> World:
    """The world as `Orchestrator` saved it. Raises pydantic.ValidationError for another version's."""
    return WORLD.validate_python(state["world"])
