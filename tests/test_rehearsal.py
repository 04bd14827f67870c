"""The play around a stage: its directories, its patience, and what it says when a service never gets steady."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.events import HealthCheckAnswered
from rollproof.core.settings import HealthCheck, Settings
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing, scale_settings, scale_timing
from rollproof.core.world import create_world
from rollproof.disruptions import Disruption, disrupt, restore
from rollproof.history import HistoryList
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.local_stage import LocalStage
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.stage_state import StageState
from rollproof.rehearsal import Patience, Rehearsal, patience_s, record_settings, rehearse, run_directory
from rollproof.subject import find_subject
from rollproof.testing.fakes import FakeBalancer, FakeRuntime, MemoryStore, TaskScript

SPEED = 1000.0
PATIENCE_S = 10.0
OBEDIENT = TaskScript()


class Targets:
    """Every check is answered with `status`; None: no connection."""

    def __init__(self, status: int | None) -> None:
        self.status = status

    async def check(self, node: str, target_id: str, address: str, health_check: HealthCheck) -> HealthCheckAnswered:
        return HealthCheckAnswered(node, target_id, self.status, "" if self.status else "connection")


class Stage(SimpleNamespace):
    """A stage on fakes, as far as the play needs it."""

    def __init__(self, run_dir: Path, script: TaskScript, status: int | None) -> None:
        clock = StageClock()
        self.history, self.runtime = HistoryList(clock), FakeRuntime(script)
        self.endpoint, self.redis, self.balancer = "http://127.0.0.1:1", None, "embedded"
        self.plan = SimpleNamespace(run_dir=run_dir)
        world = create_world(scale_settings(Settings(), SPEED), scale_timing(Timing(), SPEED), 1, clock.now())
        self.orchestrator = Orchestrator(
            StageState(world, clock),
            runtime=self.runtime,
            balancer=FakeBalancer(),
            checker=Targets(status),
            store=MemoryStore(),
            recorder=self.history,
            logs=run_dir / "logs",
            secrets={},
        )
        self.running = asyncio.create_task(self.orchestrator.run())

    async def kill_task(self, task_id: str) -> None:
        self.runtime.exit(task_id, 137)

    async def restart_redis(self) -> None:
        self.history.record("fault", name="redis-restart")


@asynccontextmanager
async def stage(tmp_path: Path, script: TaskScript = OBEDIENT, status: int | None = 200) -> AsyncIterator[LocalStage]:
    made = Stage(tmp_path, script, status)
    try:
        yield cast("LocalStage", made)
    finally:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    subject = find_subject(command="serve", working_directory=tmp_path)
    return Rehearsal(subject, subject.settings, speed=SPEED, timeout_s=PATIENCE_S)


class TestRunDirectory:
    def test_without_a_history_nothing_stays(self, tmp_path: Path) -> None:
        with run_directory(tmp_path, "x") as path:
            (path / "logs").mkdir()
        assert list(tmp_path.iterdir()) == []

    def test_with_one_it_stays_whatever_happened(self, tmp_path: Path) -> None:
        def fail_inside() -> None:
            with run_directory(tmp_path, "x") as path:
                (path / "history.jsonl").write_text("")
                raise KeyError

        with pytest.raises(KeyError):
            fail_inside()
        (path,) = tmp_path.iterdir()
        assert path.name.endswith("-x")

    def test_two_of_the_same_second_are_two(self, tmp_path: Path) -> None:
        with run_directory(tmp_path, "x") as first, run_directory(tmp_path, "x") as second:
            assert first != second

    def test_where_none_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(Permanent, match="cannot make") as caught, run_directory(tmp_path / "file", "x"):
            pass
        assert "--runs" in caught.value.hint


class TestPatience:
    def test_is_longer_for_a_longer_delay_and_a_lower_speed(self, rehearsal: Rehearsal) -> None:
        settings = rehearsal.settings
        group = replace(settings.target_group, deregistration_delay_s=3600.0)
        slow = replace(rehearsal.subject, settings=replace(settings, target_group=group))
        at_aws_pace = replace(rehearsal, speed=1.0)
        assert patience_s(replace(at_aws_pace, subject=slow)) > patience_s(at_aws_pace) + 2 * 3300
        assert patience_s(at_aws_pace) > patience_s(rehearsal)

    def test_covers_the_tasks_that_a_circuit_breaker_waits_for(self, rehearsal: Rehearsal) -> None:
        assert patience_s(replace(rehearsal, disruption=Disruption.BAD_IMAGE)) > patience_s(rehearsal)

    async def test_ends_when_the_service_is_steady(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path) as made:
            await Patience(made, rehearsal).wait("it", lambda world: world.is_steady, fail_early=True)

    async def test_ends_early_where_every_task_crashes(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path, TaskScript(exits_after_s=0.0, exit_code=3)) as made:
            with pytest.raises(Permanent, match=r"never became steady: task \w{8}: .* \(exit code 3\)") as caught:
                await Patience(made, rehearsal).wait("it", lambda world: world.is_steady, fail_early=True)
        assert "no task has logged anything" in caught.value.hint

    async def test_ends_early_where_tasks_crash_after_they_were_running(
        self, rehearsal: Rehearsal, tmp_path: Path
    ) -> None:
        """ECS does not call those failed, and would go on for ever."""
        async with stage(tmp_path, TaskScript(exits_after_s=0.1, exit_code=3), status=None) as made:
            with pytest.raises(Permanent, match="never became steady"):
                await Patience(made, rehearsal).wait("it", lambda world: world.is_steady, fail_early=True)

    async def test_ends_early_where_no_target_gets_healthy(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path, status=500) as made:
            with pytest.raises(Permanent, match="Task failed ELB health checks"):
                await Patience(made, rehearsal).wait("it", lambda world: world.is_steady, fail_early=True)

    async def test_quotes_the_end_of_the_newest_log(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "a.log").write_text("\n".join(f"line {n}" for n in range(50)))
        async with stage(tmp_path, TaskScript(start_failure="CannotPullContainerError: no")) as made:
            with pytest.raises(Permanent, match="CannotPullContainerError: no") as caught:
                await Patience(made, rehearsal).wait("it", lambda world: world.is_steady, fail_early=True)
        assert "line 49" in caught.value.hint
        assert "line 30" not in caught.value.hint

    async def test_ends_in_any_case(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path, TaskScript(starts_after_s=None)) as made:
            with pytest.raises(Permanent, match=r"waited 0 s for a miracle: .*last service event") as caught:
                await Patience(made, replace(rehearsal, timeout_s=0.3)).wait("a miracle", lambda world: world.is_steady)
        assert "has started 2 tasks" in caught.value.message

    async def test_says_what_the_machine_refuses(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path) as made:
            balancer = made.orchestrator._balancer
            cast("FakeBalancer", balancer).is_reachable = False
            with pytest.raises(Permanent, match="the load balancer's control endpoint does not answer"):
                await Patience(made, replace(rehearsal, timeout_s=0.3)).wait("it", lambda _: False)

    async def test_ends_with_the_stage(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path) as made:
            made.running.cancel()
            with pytest.raises((asyncio.CancelledError, Temporary)):
                await Patience(made, rehearsal).wait("it", lambda _: False)


class TestDisruption:
    @pytest.mark.parametrize("disruption", [Disruption.CRASH, Disruption.STOP_TASK])
    async def test_of_one_task_is_over_when_it_is_replaced(
        self, rehearsal: Rehearsal, tmp_path: Path, disruption: Disruption
    ) -> None:
        async with stage(tmp_path) as made:
            patience = Patience(made, rehearsal)
            await patience.wait("it", lambda world: world.is_steady)
            first = set(made.orchestrator.world.tasks)
            await patience.wait("it", await disrupt(made, disruption))
            world = made.orchestrator.world
            running = {x.id for x in world.tasks.values() if x.known is TaskStatus.RUNNING}
            assert len(running) == 2
            assert len(running & first) == 1

    async def test_scale_in_is_over_when_half_of_the_tasks_have_ended_and_can_be_taken_back(
        self, rehearsal: Rehearsal, tmp_path: Path
    ) -> None:
        async with stage(tmp_path) as made:
            patience = Patience(made, rehearsal)
            await patience.wait("it", lambda world: world.is_steady)
            await patience.wait("it", await disrupt(made, Disruption.SCALE_IN))
            tasks = made.orchestrator.world.tasks.values()
            assert [x.known for x in tasks if x.known < TaskStatus.STOPPED] == [TaskStatus.RUNNING]
            (fault,) = (x for x in made.history.records if x["kind"] == "fault")  # type: ignore[attr-defined]
            assert (fault["name"], fault["target"]) == ("scale-in", "desired count 1")
            await restore(made, 2)
            await patience.wait(
                "it", lambda world: world.is_steady and sum(x.is_wanted for x in world.tasks.values()) == 2
            )

    async def test_redis_restart_is_over_when_it_is_done_and_the_service_steady(
        self, rehearsal: Rehearsal, tmp_path: Path
    ) -> None:
        async with stage(tmp_path) as made:
            patience = Patience(made, rehearsal)
            await patience.wait("it", lambda world: world.is_steady)
            with pytest.raises(UsageError, match="has no Redis"):
                await disrupt(made, Disruption.REDIS_RESTART)
            cast("Stage", made).redis = SimpleNamespace(description="a Redis")
            is_over = await disrupt(made, Disruption.REDIS_RESTART)
            faults = [x["name"] for x in made.history.records if x["kind"] == "fault"]  # type: ignore[attr-defined]
            assert faults == ["redis-restart"]
            assert is_over(made.orchestrator.world)

    @pytest.mark.parametrize(
        ("disruption", "desired", "says"),
        [
            (Disruption.SCALE_IN, 1, "the desired count is 1"),
            (Disruption.REDIS_RESTART, 2, "has no Redis"),
        ],
    )
    async def test_what_cannot_be_taken_away_is_refused_before_anything_starts(
        self, rehearsal: Rehearsal, tmp_path: Path, disruption: Disruption, desired: int, says: str
    ) -> None:
        settings = replace(rehearsal.settings, service=replace(rehearsal.settings.service, desired_count=desired))
        subject = replace(rehearsal.subject, settings=settings)
        runs = tmp_path / "runs"
        with pytest.raises(UsageError, match=says):
            await rehearse(replace(rehearsal, subject=subject, disruption=disruption, runs_dir=runs))
        assert not runs.exists()

    async def test_a_redis_of_somebody_else_is_not_restarted(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        subject = replace(rehearsal.subject, needs_redis=True)
        asked = replace(
            rehearsal, subject=subject, disruption=Disruption.REDIS_RESTART, redis_url="redis://127.0.0.1:1/0",
            runs_dir=tmp_path / "runs",
        )  # fmt: skip
        with pytest.raises(UsageError, match="was not started by the rehearsal"):
            await rehearse(asked)
        assert not (tmp_path / "runs").exists()

    async def test_by_a_deployment_is_over_when_it_has_completed(self, rehearsal: Rehearsal, tmp_path: Path) -> None:
        async with stage(tmp_path) as made:
            patience = Patience(made, rehearsal)
            await patience.wait("it", lambda world: world.is_steady)
            first = set(made.orchestrator.world.tasks)
            await patience.wait("it", await disrupt(made, Disruption.ROLLING))
            world = made.orchestrator.world
            assert not first & {x.id for x in world.tasks.values() if x.known is TaskStatus.RUNNING}
            marks = [x["name"] for x in made.history.records if x["kind"] == "mark"]  # type: ignore[attr-defined]
            assert marks == ["deployment-triggered"]


async def test_every_setting_is_recorded_in_real_seconds_with_its_source(rehearsal: Rehearsal, tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        record_settings(made, replace(rehearsal, speed=10.0, timing=Timing(scheduler_tick_s=20.0)))
        rows = {x["name"]: x for x in made.history.records if x["kind"] == "setting"}  # type: ignore[attr-defined]
    assert rows["target_group.deregistration_delay_s"]["value"] == 30.0
    assert rows["task_definition.stop_timeout_s"]["value"] == 30.0  # the application's own time
    assert (rows["timing.scheduler_tick_s"]["value"], rows["timing.scheduler_tick_s"]["source"]) == (2.0, "--set")
    assert rows["timing.healthy_bake_s"]["source"].startswith("API-ECS")
    assert rows["speed"]["value"] == 10.0
    assert (rows["redis"]["value"], rows["balancer"]["value"]) == ("none", "embedded")
