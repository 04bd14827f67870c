"""The loop with fakes around it: whole rollouts in a second, AWS's times divided by 1,000."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.deployment import RolloutState
from rollproof.core.errors import Temporary
from rollproof.core.events import HealthCheckAnswered, ServiceUpdateRequested, TaskStopRequested
from rollproof.core.settings import HealthCheck, Settings, TaskDefinition
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing, scale_settings, scale_timing
from rollproof.core.world import World, create_world
from rollproof.history import HistoryList
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.stage_state import StageState
from rollproof.testing.fakes import FakeBalancer, FakeRuntime, MemoryStore

SPEED = 1000.0
PATIENCE_S = 20.0


class HealthyTargets:
    """Every check is answered 200."""

    async def check(self, node: str, target_id: str, address: str, health_check: HealthCheck) -> HealthCheckAnswered:
        return HealthCheckAnswered(node, target_id, 200)


@dataclass
class Script:
    """What outlives an orchestrator, and the one that runs."""

    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    balancer: FakeBalancer = field(default_factory=FakeBalancer)
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: StageClock = field(default_factory=StageClock)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.history = HistoryList(self.clock)

    def orchestrator(self) -> Orchestrator:
        saved = self.store.load()
        world = create_world(scale_settings(self.settings, SPEED), scale_timing(Timing(), SPEED), 1, self.clock.now())
        return Orchestrator(
            StageState.adopt(saved) if saved else StageState(world, self.clock),
            runtime=self.runtime,
            balancer=self.balancer,
            checker=HealthyTargets(),
            store=self.store,
            recorder=self.history,
            logs=Path("logs"),
            secrets={"REDIS_URL": "redis://secret"},
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Orchestrator]:
        orchestrator = self.orchestrator()
        run = asyncio.create_task(orchestrator.run())
        try:
            yield orchestrator
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    def records(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return [
            x
            for x in self.history.records
            if x["kind"] == kind and all(x.get(name) == value for name, value in fields.items())
        ]


async def until(orchestrator: Orchestrator, condition: Callable[[World], bool]) -> None:
    await asyncio.wait_for(orchestrator.wait_for(condition), PATIENCE_S)


async def deploy(orchestrator: Orchestrator) -> None:
    number = orchestrator.world.deployments_made
    orchestrator.tell(ServiceUpdateRequested(force_new_deployment=True))
    await until(orchestrator, lambda world: world.deployments_made > number and world.is_steady)


async def test_a_rollout_reaches_runtime_and_balancer_in_order() -> None:
    script = Script()
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        old = [spec.task_id for spec in script.runtime.started]
        await deploy(orchestrator)
    assert [name for _, name in script.runtime.signals] == ["SIGTERM", "SIGTERM"]
    assert sorted(task_id for task_id, _ in script.runtime.signals) == sorted(old)
    assert sorted(script.runtime.removed) == sorted(old)
    assert len(script.runtime.started) == 4
    addresses = {script.runtime.tasks[x].address for x in script.runtime.tasks}
    routed = {target.id for node in script.balancer.table.nodes for target in node.targets if target.new}
    assert routed <= addresses
    assert len(routed) == 2
    assert len(script.balancer.cuts) == 2


@pytest.mark.fidelity("ECS-TASK-21", source="WN-2025-12; API-ECS StopTask", mark="doc")
async def test_the_stop_signal_is_the_definitions() -> None:
    script = Script(settings=Settings(task_definition=TaskDefinition(stop_signal="SIGQUIT")))
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        await deploy(orchestrator)
    assert [name for _, name in script.runtime.signals] == ["SIGQUIT", "SIGQUIT"]


@pytest.mark.fidelity("ALB-DRAIN-14", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
async def test_a_target_is_cut_only_after_the_table_without_it() -> None:
    script = Script()
    seen: list[bool] = []
    cut = script.balancer.cut

    async def watched(target_id: str) -> int:
        seen.append(any(t.id == target_id for node in script.balancer.table.nodes for t in node.targets))
        return await cut(target_id)

    script.balancer.cut = watched  # type: ignore[method-assign]
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        await deploy(orchestrator)
    assert seen == [False, False]


async def test_every_task_gets_the_secrets_and_nothing_of_them_is_recorded() -> None:
    script = Script()
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
    assert all(spec.environment["REDIS_URL"] == "redis://secret" for spec in script.runtime.started)
    assert "redis://secret" not in str(script.history.records)


@pytest.mark.fidelity("ECS-TASK-1", "ALB-DRAIN-3")
async def test_the_history_tells_each_change_once_and_in_order() -> None:
    script = Script()
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        await deploy(orchestrator)
        last = script.records("target", state="draining")[0]
    task_id = last["task_id"]
    known = [x["known"] for x in script.records("task", task_id=task_id) if "signal" not in x]
    assert list(dict.fromkeys(known)) == [
        "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED",
    ]  # fmt: skip
    states = [x["state"] for x in script.records("target", task_id=task_id)]
    assert list(dict.fromkeys(states)) == ["initial", "healthy", "draining", "unused"]
    nodes = {x["node"] for x in script.records("node", target_id=last["target_id"], state="draining")}
    assert nodes == {"node-0", "node-1"}
    messages = [x["message"].partition(") ")[2] for x in script.records("service_event")]
    assert messages[-1] == "has reached a steady state."
    assert "deployment completed" in messages[-2]
    assert script.records("deployment", status="INACTIVE")


async def test_an_unreachable_balancer_gets_its_table_and_cuts_when_it_is_back() -> None:
    script = Script()
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        script.balancer.is_reachable = False
        await deploy(orchestrator)
        assert script.balancer.cuts == []
        assert "does not answer" in orchestrator.trouble
        script.balancer.is_reachable = True
        async with asyncio.timeout(PATIENCE_S):
            while len(script.balancer.cuts) < 2:
                await asyncio.sleep(0)
    assert len({t.id for node in script.balancer.table.nodes for t in node.targets}) == 2


async def test_a_start_that_is_refused_for_now_is_made_up_for() -> None:
    script = Script()
    script.runtime.fail_next_start = Temporary("no space left on device")
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        assert orchestrator.world.primary.failed_tasks == 0
    assert len(script.runtime.started) == 2


async def test_a_killed_orchestrator_is_succeeded_in_mid_rollout() -> None:
    script = Script()
    async with script.running() as first:
        await until(first, lambda world: world.is_steady)
        first.tell(ServiceUpdateRequested(force_new_deployment=True))
        await until(first, lambda world: any(x.deregistered_at for x in world.tasks.values()))
        world = first.world
    async with script.running() as second:
        assert second.world == world
        await until(second, lambda world: world.is_steady)
        assert second.world.primary.id == world.primary.id
        assert second.world.primary.rollout_state is RolloutState.COMPLETED
    assert len(script.runtime.started) == 4
    assert [x["event"] for x in script.records("orchestrator")] == ["started", "adopted"]
    messages = [x["message"] for x in script.records("service_event")]
    assert len(messages) == len(set(messages)) + 2  # two targets registered, and steady: both twice, nothing else


async def test_tasks_that_ended_or_are_unknown_are_settled_at_adoption() -> None:
    script = Script()
    async with script.running() as first:
        await until(first, lambda world: world.is_steady)
        specs = list(script.runtime.started)
    victim = specs[0].task_id
    script.runtime.tasks.pop(victim)
    stray = specs[1].__class__(**{**vars(specs[1]), "task_id": "f" * 32})
    await script.runtime.start(stray)
    async with script.running() as second:
        await until(second, lambda world: world.tasks[victim].known is TaskStatus.STOPPED and world.is_steady)
        assert second.world.tasks[victim].exit_code == 137
    assert "f" * 32 in script.runtime.removed


@pytest.mark.parametrize("twice", [False, True])
async def test_stop_task_is_replaced_however_often_it_is_asked(twice: bool) -> None:
    script = Script()
    async with script.running() as orchestrator:
        await until(orchestrator, lambda world: world.is_steady)
        victim = script.runtime.started[0].task_id
        for _ in range(1 + twice):
            orchestrator.tell(TaskStopRequested(victim, "drill"))
        await until(orchestrator, lambda world: world.tasks[victim].known is TaskStatus.STOPPED and world.is_steady)
        assert orchestrator.world.tasks[victim].stopped_reason == "Task stopped by user: drill"
    assert len(script.runtime.started) == 3
