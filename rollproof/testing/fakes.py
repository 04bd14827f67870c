"""Fakes of the orchestrator's ports, for tests of whatever stands on them. No mocks: they behave.

`FakeRuntime` passes the same contract suite as the real runtimes (runtime_contract.py). All run in memory, and
take their delays from a `call_later`: the event loop's own, or a `ManualClock`'s, with which time stands still
until the test moves it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.events import (
    ContainerEvent,
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
    ContainerStartFailed,
    TaskProtectionChanged,
)
from rollproof.core.routing_table import RoutingTable
from rollproof.orchestrator.ports import FoundTask, TargetCounters, TaskSpec

CallLater = Callable[[float, Callable[[], None]], object]


class ManualClock:
    """A clock that moves when told to. Timers fire in order of time, then of being set."""

    def __init__(self, now: float = 0.0, started_at: float = 1_700_000_000.0) -> None:
        self._now, self._started_at = now, started_at
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    @property
    def started_at(self) -> float:
        return self._started_at

    def now(self) -> float:
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self._now + delay_s, next(self._numbers), callback))

    async def sleep(self, delay_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_later(delay_s, lambda: None if woken.done() else woken.set_result(None))
        await woken

    def advance(self, seconds: float) -> None:
        """Move on, firing what falls due on the way, each at its own time. Time cannot go backwards."""
        if seconds < 0:
            raise ValueError(f"time cannot go backwards (by {-seconds} s)")
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, callback = heapq.heappop(self._timers)
            callback()
        self._now = until

    async def advance_and_settle(self, seconds: float, rounds: int = 20) -> None:
        """Move on, then let every task that this has woken run until it waits again."""
        self.advance(seconds)
        for _ in range(rounds):
            await asyncio.sleep(0)


@dataclass(frozen=True)
class TaskScript:
    """How a fake task behaves. Delays in seconds; None means never."""

    starts_after_s: float | None = 0.0
    start_failure: str = ""  # the reason in ECS's words; it then fails instead of starting
    exits_after_s: float | None = None  # by itself, so long after its start
    exit_code: int = 0  # of that exit
    ignores: frozenset[str] = frozenset()  # signals it takes no notice of; SIGKILL cannot be among them
    stops_after_s: float = 0.0  # how long it takes to end once signalled
    stop_exit_code: int = 143
    health: tuple[tuple[float, bool], ...] = ()  # (seconds after its start, healthy)
    protects_for_minutes: int | None = None  # asks for scale-in protection at once


@dataclass
class FakeTask:
    """One task of a FakeRuntime: what it was told, and where it stands."""

    spec: TaskSpec
    script: TaskScript
    address: str
    signals: list[str] = field(default_factory=list)
    present: dict[type, ContainerEvent] = field(default_factory=dict)  # the last event of each kind

    @property
    def is_over(self) -> bool:
        return ContainerExited in self.present or ContainerStartFailed in self.present

    @property
    def is_running(self) -> bool:
        return ContainerStarted in self.present and not self.is_over


class FakeRuntime:
    """Tasks that exist on paper. `script` says how each behaves: one for all, or chosen by its spec.

    A test may also take part by hand: `exit`, `report_health`, `protect`; `fail_next_start` makes `start` raise.
    """

    def __init__(
        self,
        script: TaskScript | Callable[[TaskSpec], TaskScript] = TaskScript(),
        *,
        call_later: CallLater | None = None,
    ) -> None:
        self._script = script
        self._call_later = call_later
        self._watchers: list[asyncio.Queue[ContainerEvent]] = []
        self._ports = itertools.count(20_000)
        self.tasks: dict[str, FakeTask] = {}
        self.started: list[TaskSpec] = []
        self.signals: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.fail_next_start: Exception | None = None

    async def start(self, spec: TaskSpec) -> None:
        if self.fail_next_start is not None:
            error, self.fail_next_start = self.fail_next_start, None
            raise error
        if spec.task_id in self.tasks:
            return
        script = self._script if isinstance(self._script, TaskScript) else self._script(spec)
        task = FakeTask(spec, script, f"127.0.0.1:{next(self._ports)}")
        self.tasks[spec.task_id] = task
        self.started.append(spec)
        if script.starts_after_s is not None:
            self._later(script.starts_after_s, lambda: self._begin(task))

    async def signal(self, task_id: str, signal: str) -> None:
        if not signal.startswith("SIG"):
            raise UsageError(f"signal {signal!r} cannot be sent to a task", hint="SIGTERM or SIGKILL")
        self.signals.append((task_id, signal))
        task = self.tasks.get(task_id)
        if task is None or not task.is_running:
            return
        task.signals.append(signal)
        if signal == "SIGKILL":
            self.exit(task_id, 137)
        elif signal not in task.script.ignores:
            self._later(task.script.stops_after_s, lambda: self.exit(task_id, task.script.stop_exit_code))

    async def watch(self) -> AsyncIterator[ContainerEvent]:
        news: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        for task in self.tasks.values():
            for event in task.present.values():
                news.put_nowait(event)
        self._watchers.append(news)
        try:
            while True:
                yield await news.get()
        finally:
            self._watchers.remove(news)

    async def describe(self) -> list[FoundTask]:
        found = []
        for task_id, task in self.tasks.items():
            if ContainerStartFailed not in task.present:
                exited = task.present.get(ContainerExited)
                code = exited.exit_code if isinstance(exited, ContainerExited) else None
                found.append(FoundTask(task_id, task.address, code))
        return found

    async def remove(self, task_id: str) -> None:
        if task_id in self.tasks:
            self.exit(task_id, 137)
            del self.tasks[task_id]
            self.removed.append(task_id)

    def exit(self, task_id: str, exit_code: int, reason: str = "") -> None:
        """The task's process ends, whatever its script says. No effect on one that does not run."""
        task = self.tasks.get(task_id)
        if task is not None and task.is_running:
            self._happen(task, ContainerExited(task_id, exit_code, reason))

    def report_health(self, task_id: str, healthy: bool) -> None:
        task = self.tasks.get(task_id)
        if task is not None and task.is_running:
            self._happen(task, ContainerHealthChanged(task_id, healthy))

    def protect(self, task_id: str, enabled: bool = True, expires_in_minutes: int = 120) -> None:
        self._happen(self.tasks[task_id], TaskProtectionChanged(task_id, enabled, expires_in_minutes))

    def _begin(self, task: FakeTask) -> None:
        task_id, script = task.spec.task_id, task.script
        if self.tasks.get(task_id) is not task:  # removed meanwhile
            return
        if script.start_failure:
            self._happen(task, ContainerStartFailed(task_id, script.start_failure))
            return
        self._happen(task, ContainerStarted(task_id, task.address))
        for after_s, healthy in script.health:
            self._later(after_s, partial(self.report_health, task_id, healthy))
        if script.protects_for_minutes is not None:
            self.protect(task_id, True, script.protects_for_minutes)
        if script.exits_after_s is not None:
            self._later(script.exits_after_s, lambda: self.exit(task_id, script.exit_code))

    def _happen(self, task: FakeTask, event: ContainerEvent) -> None:
        task.present[type(event)] = event
        for news in self._watchers:
            news.put_nowait(event)

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        if delay_s <= 0:
            callback()
        else:
            (self._call_later or asyncio.get_running_loop().call_later)(delay_s, callback)


class FakeBalancer:
    """Takes tables and orders and remembers them; the test sets its counters and writes its access log."""

    def __init__(self) -> None:
        self.tables: list[RoutingTable] = []
        self.cuts: list[str] = []
        self.connections: dict[str, int] = {}  # what `cut` will find open, by target id
        self.is_reachable = True
        self._counters: dict[str, TargetCounters] = {}
        self._log: list[AccessLogEntry] = []
        self._logged = asyncio.Event()

    @property
    def table(self) -> RoutingTable:
        """The table in force."""
        return self.tables[-1]

    async def publish(self, table: RoutingTable) -> None:
        self._reach()
        if self.tables and table.generation < self.table.generation:
            raise Permanent(
                f"routing table {table.generation} is older than {self.table.generation}, which is in force"
            )
        if not self.tables or table.generation > self.table.generation:
            self.tables.append(table)

    async def cut(self, target_id: str) -> int:
        self._reach()
        self.cuts.append(target_id)
        return self.connections.pop(target_id, 0)

    async def counters(self) -> Mapping[str, TargetCounters]:
        self._reach()
        return dict(self._counters)

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        """Offsets count entries here; to a caller an offset is opaque."""
        while True:
            self._logged.clear()
            while offset < len(self._log):
                entry = self._log[offset]
                offset += 1
                yield offset, entry
            await self._logged.wait()

    def count(self, target_id: str, counters: TargetCounters) -> None:
        self._counters[target_id] = counters

    def log(self, entry: AccessLogEntry) -> None:
        self._log.append(entry)
        self._logged.set()

    def _reach(self) -> None:
        if not self.is_reachable:
            raise Temporary("the load balancer's control endpoint does not answer", hint="it is tried again")


class MemoryStore:
    """Keeps the state as JSON text, so that what could not be saved to a file fails here, too."""

    def __init__(self) -> None:
        self._text: str | None = None
        self.saves = 0

    def save(self, state: Mapping[str, Any]) -> None:
        self._text = json.dumps(state)
        self.saves += 1

    def load(self) -> dict[str, Any] | None:
        if self._text is None:
            return None
        state: dict[str, Any] = json.loads(self._text)
        return state
