"""The fakes keep the real ones' promises; time stands still between their steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.errors import Permanent, Temporary
from rollproof.core.events import ContainerExited, ContainerHealthChanged, ContainerStarted, TaskProtectionChanged
from rollproof.core.routing_table import NodeTable, RoutingTable
from rollproof.core.settings import TaskDefinition
from rollproof.orchestrator.ports import FoundTask, Runtime, TargetCounters, TaskSpec
from rollproof.testing.fakes import FakeBalancer, FakeRuntime, ManualClock, TaskScript
from rollproof.testing.runtime_contract import Behaviour, EventLog, RuntimeContract, RuntimeStage, make_spec

TASK = "a" * 32
SPEC = make_spec(TASK, TaskDefinition(), Path("/logs"))

SCRIPTS = {
    Behaviour.STEADY: TaskScript(),
    Behaviour.STUBBORN: TaskScript(ignores=frozenset({"SIGTERM"})),
    Behaviour.ENDS_WITH_7: TaskScript(exits_after_s=0.0, exit_code=7),
    Behaviour.NOT_PULLABLE: TaskScript(start_failure="CannotPullContainerError: not found"),
    Behaviour.NOT_EXECUTABLE: TaskScript(start_failure="CannotStartContainerError: not found"),
    Behaviour.BECOMES_HEALTHY: TaskScript(health=((0.0, True),)),
    Behaviour.TURNS_UNHEALTHY: TaskScript(health=((0.0, False),)),
    Behaviour.PROTECTS_ITSELF: TaskScript(protects_for_minutes=30),
}


class FakeStage:
    """The fake has no process to lose: losing the runtime is losing its watchers."""

    def __init__(self) -> None:
        self.runtime: Runtime = FakeRuntime(lambda spec: SCRIPTS[Behaviour(spec.definition.image)])

    def spec(self, task_id: str, behaviour: Behaviour) -> TaskSpec:
        return make_spec(task_id, TaskDefinition(image=behaviour), Path("/logs"))

    def replace_runtime(self) -> Runtime:
        return self.runtime


class TestFakeRuntimeKeepsTheContract(RuntimeContract):
    @pytest.fixture
    def stage(self) -> RuntimeStage:
        return FakeStage()


class TestManualClock:
    def test_timers_fire_at_their_own_time_in_order(self) -> None:
        clock, fired = ManualClock(), list[tuple[float, str]]()
        for delay_s, name in ((2.0, "b"), (1.0, "a"), (2.0, "c"), (9.0, "later")):
            clock.call_later(delay_s, lambda name=name: fired.append((clock.now(), name)))  # type: ignore[misc]
        clock.advance(5.0)
        assert fired == [(1.0, "a"), (2.0, "b"), (2.0, "c")]
        assert clock.now() == 5.0

    def test_a_timer_may_set_another(self) -> None:
        clock, fired = ManualClock(), list[float]()
        clock.call_later(1.0, lambda: clock.call_later(1.0, lambda: fired.append(clock.now())))
        clock.advance(2.0)
        assert fired == [2.0]

    def test_time_cannot_go_backwards(self) -> None:
        with pytest.raises(ValueError, match="backwards"):
            ManualClock().advance(-1.0)

    async def test_sleepers_wake(self) -> None:
        clock, woken = ManualClock(), list[float]()

        async def sleep(delay_s: float) -> None:
            await clock.sleep(delay_s)
            woken.append(delay_s)

        async with asyncio.TaskGroup() as group:
            for delay_s in (3.0, 1.0):
                group.create_task(sleep(delay_s))
            await clock.advance_and_settle(0.0)
            await clock.advance_and_settle(1.0)
            assert woken == [1.0]
            await clock.advance_and_settle(2.0)
            assert woken == [1.0, 3.0]


class TestFakeRuntimeOnAClock:
    async def test_a_life_by_script(self) -> None:
        clock = ManualClock()
        script = TaskScript(starts_after_s=2.0, health=((1.0, True),), stops_after_s=3.0, stop_exit_code=0)
        runtime = FakeRuntime(script, call_later=clock.call_later)
        async with EventLog(runtime) as log:
            await runtime.start(SPEC)
            await clock.advance_and_settle(1.9)
            assert log.events == []
            await clock.advance_and_settle(1.2)
            await runtime.signal(TASK, "SIGTERM")
            await clock.advance_and_settle(2.9)
            assert log.events == [ContainerStarted(TASK, "127.0.0.1:20000"), ContainerHealthChanged(TASK, True)]
            await clock.advance_and_settle(0.1)
            assert log.events[-1] == ContainerExited(TASK, 0)
        assert runtime.signals == [(TASK, "SIGTERM")]

    async def test_a_task_that_never_starts(self) -> None:
        clock = ManualClock()
        runtime = FakeRuntime(TaskScript(starts_after_s=None), call_later=clock.call_later)
        async with EventLog(runtime) as log:
            await runtime.start(SPEC)
            await clock.advance_and_settle(1e6)
            assert log.events == []

    async def test_a_test_may_take_part_by_hand(self) -> None:
        runtime = FakeRuntime()
        async with EventLog(runtime) as log:
            await runtime.start(SPEC)
            runtime.report_health(TASK, healthy=False)
            runtime.protect(TASK, enabled=False)
            runtime.exit(TASK, 1, "OutOfMemoryError: container killed due to memory usage")
            runtime.report_health(TASK, healthy=True)  # too late
            await log.wait_for(ContainerExited, TASK)
            assert [type(event) for event in log.events] == [
                ContainerStarted,
                ContainerHealthChanged,
                TaskProtectionChanged,
                ContainerExited,
            ]

    async def test_a_start_may_fail_as_told(self) -> None:
        runtime = FakeRuntime()
        runtime.fail_next_start = Temporary("no port")
        with pytest.raises(Temporary):
            await runtime.start(SPEC)
        await runtime.start(SPEC)
        assert await runtime.describe() == [FoundTask(TASK, "127.0.0.1:20000")]


class TestFakeBalancer:
    async def test_tables_go_forward_only(self) -> None:
        balancer = FakeBalancer()
        tables = [RoutingTable(generation, (NodeTable("node-0"),)) for generation in (1, 2)]
        for table in (*tables, tables[1]):
            await balancer.publish(table)
        with pytest.raises(Permanent, match="1 is older than 2"):
            await balancer.publish(tables[0])
        assert balancer.tables == tables
        assert balancer.table.generation == 2

    async def test_cut_counts_what_was_open_once(self) -> None:
        balancer = FakeBalancer()
        balancer.connections["t"] = 3
        assert [await balancer.cut("t"), await balancer.cut("t")] == [3, 0]
        assert balancer.cuts == ["t", "t"]

    async def test_an_unreachable_balancer_raises_temporary(self) -> None:
        balancer = FakeBalancer()
        balancer.count("t", TargetCounters(1, 2, 3))
        assert await balancer.counters() == {"t": TargetCounters(1, 2, 3)}
        balancer.is_reachable = False
        with pytest.raises(Temporary):
            await balancer.counters()

    async def test_the_access_log_is_followed_and_resumed(self) -> None:
        balancer = FakeBalancer()
        entries = [
            AccessLogEntry("http", "", "app/mcp", f"c{n}", "-", 0, 0, 0, "200", "200", 0, 0, "GET / HTTP/1.1", "-")
            for n in range(3)
        ]
        balancer.log(entries[0])
        following = balancer.access_log(0)
        assert isinstance(following, AsyncGenerator)
        offset, entry = await anext(following)
        assert entry == entries[0]
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        balancer.log(entries[1])
        assert (await asyncio.wait_for(coming, 5))[1] == entries[1]
        await following.aclose()
        resumed = balancer.access_log(offset)
        assert isinstance(resumed, AsyncGenerator)
        assert (await anext(resumed))[1] == entries[1]
        await resumed.aclose()
