"""The control socket of a stage that is up: requests, answers, and everything that may go wrong between them."""

from __future__ import annotations

import asyncio
import json
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rollproof.cli.wait import wait
from rollproof.core.errors import Temporary, UsageError
from rollproof.core.events import HealthCheckAnswered
from rollproof.core.settings import HealthCheck, Settings
from rollproof.core.timing import Timing, scale_settings, scale_timing
from rollproof.core.waiters import Answer
from rollproof.core.world import World, create_world
from rollproof.history import HistoryList
from rollproof.orchestrator import control
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.control import ControlServer, NothingUp, ask, find_task, update_request
from rollproof.orchestrator.local_stage import LocalStage
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.stage import Usage
from rollproof.orchestrator.stage_files import StagePlan, control_socket
from rollproof.orchestrator.stage_state import StageState
from rollproof.testing.fakes import FakeBalancer, FakeRuntime, MemoryStore

SPEED = 1000.0
PATIENCE_S = 10.0


class HealthyTargets:
    async def check(self, node: str, target_id: str, address: str, health_check: HealthCheck) -> HealthCheckAnswered:
        return HealthCheckAnswered(node, target_id, 200)


class Stage(SimpleNamespace):
    """What the control server needs of a stage, on fakes."""

    def __init__(self, state_dir: Path) -> None:
        settings, timing = scale_settings(Settings(), SPEED), scale_timing(Timing(), SPEED)
        clock = StageClock()
        self.plan = StagePlan(state_dir, state_dir / "run", Settings(), Timing(), {}, speed=SPEED, port=8080)
        self.history, self.runtime, self.killed = HistoryList(clock), FakeRuntime(), list[str]()
        self.orchestrator = Orchestrator(
            StageState(create_world(settings, timing, 1, clock.now()), clock),
            runtime=self.runtime,
            balancer=FakeBalancer(),
            checker=HealthyTargets(),
            store=MemoryStore(),
            recorder=self.history,
            logs=state_dir / "logs",
            secrets={},
        )

    async def kill_task(self, task_id: str) -> None:
        self.killed.append(task_id)

    async def restart_redis(self) -> None:
        self.killed.append("redis")

    async def usage(self) -> Usage:
        return Usage({"get": 3}, {"a1": 1.5})


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Short: a socket's path is limited."""
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as directory:
        yield Path(directory)


@asynccontextmanager
async def up(state_dir: Path) -> AsyncIterator[tuple[Stage, ControlServer]]:
    stage = Stage(state_dir)
    run = asyncio.create_task(stage.orchestrator.run())
    async with asyncio.timeout(PATIENCE_S), ControlServer(cast("LocalStage", stage)) as server:
        await stage.orchestrator.wait_steady()
        try:
            yield stage, server
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)


class TestRequests:
    async def test_redis_is_restarted(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            assert await ask(state_dir, {"do": "restart-redis"}) == {}
            assert stage.killed == ["redis"]

    async def test_usage_is_told_as_counters(self, state_dir: Path) -> None:
        async with up(state_dir):
            usage = await ask(state_dir, {"do": "usage"})
            assert usage == {"redis_commands": {"get": 3}, "cpu_s": {"a1": 1.5}}

    async def test_status_is_the_description_and_where_it_is(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            status = await ask(state_dir, {"do": "status"})
            assert status["endpoint"] == "http://127.0.0.1:8080"
            assert status["run_dir"] == str(stage.plan.run_dir)
            assert status["is_steady"]
            assert len(status["tasks"]) == len(status["targets"]) == 2

    async def test_update_service_answers_with_the_new_deployment(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            old = stage.orchestrator.world.primary.id
            answer = await ask(state_dir, {"do": "update-service", "force_new_deployment": True})
            assert answer == {"deployment": stage.orchestrator.world.primary.id}
            assert answer["deployment"] != old
            assert [x["name"] for x in stage.history.records if x["kind"] == "mark"] == ["deployment-triggered"]

    async def test_a_new_environment_is_the_next_revision(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            for version, revision in (("2", 2), ("3", 3)):
                await ask(state_dir, {"do": "update-service", "environment": {"VERSION": version}})
                world: World = stage.orchestrator.world
                definition = world.settings.task_definition
                assert (definition.revision, definition.environment["VERSION"]) == (revision, version)

    async def test_a_waiter_asks_at_the_stages_pace_until_it_is_content(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            old = min(x.id for x in stage.orchestrator.world.tasks.values())
            await ask(state_dir, {"do": "update-service", "force_new_deployment": True})
            stopped = await wait("tasks-stopped", [old], state_dir)
            stable = await wait("services-stable", [], state_dir)
        assert stopped.answer is stable.answer is Answer.SUCCESS
        assert stopped.tries > 2
        assert stopped.aws_seconds >= 6 * (stopped.tries - 1)

    async def test_a_waiter_of_unknown_tasks_is_refused(self, state_dir: Path) -> None:
        async with up(state_dir):
            with pytest.raises(UsageError, match="could be 0 tasks"):
                await wait("tasks-running", ["zzzz"], state_dir)

    async def test_a_changed_count_is_no_deployment(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            old = stage.orchestrator.world.primary.id
            assert await ask(state_dir, {"do": "update-service", "desired_count": 3}) == {"deployment": old}
            await stage.orchestrator.wait_for(lambda world: world.settings.service.desired_count == 3)

    async def test_stop_task_takes_the_oldest_or_the_one_that_begins_so(self, state_dir: Path) -> None:
        async with up(state_dir) as (stage, _):
            first, second = [spec.task_id for spec in stage.runtime.started]
            assert await ask(state_dir, {"do": "stop-task", "task": second[:9]}) == {"task_id": second}
            await stage.orchestrator.wait_for(lambda world: not world.tasks[second].is_wanted)
            assert await ask(state_dir, {"do": "kill-task"}) == {"task_id": first}
            assert stage.killed == [first]

    async def test_shut_down_is_only_told(self, state_dir: Path) -> None:
        async with up(state_dir) as (_, server):
            assert await ask(state_dir, {"do": "shut-down"}) == {}
            assert server.shut_down.is_set()

    async def test_the_socket_is_its_owners_alone(self, state_dir: Path) -> None:
        async with up(state_dir):
            assert stat.S_IMODE(control_socket(state_dir).stat().st_mode) == 0o600

    async def test_a_socket_that_was_left_is_replaced(self, state_dir: Path) -> None:
        control_socket(state_dir).write_text("")
        async with up(state_dir):
            assert (await ask(state_dir, {"do": "status"}))["is_steady"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "unknown request None"),
        ({"do": "dance"}, "unknown request 'dance'"),
        ({"do": "update-service"}, "nothing to change"),
        ({"do": "update-service", "desired_count": -1}, "desired_count must be a whole number"),
        ({"do": "update-service", "desired_count": "2"}, "desired_count must be a whole number"),
        ({"do": "update-service", "maximum_percent": 100}, "cannot be 100"),
        ({"do": "update-service", "minimum_healthy_percent": 101}, "minimum_healthy_percent is 101"),
        ({"do": "update-service", "environment": ["A=1"]}, "environment is a JSON object"),
        ({"do": "update-service", "command": "sleep 1"}, "command a list of words"),
        ({"do": "stop-task", "task": "zz"}, "no running task 'zz'"),
        ({"do": "kill-task", "task": "zz"}, "no running task 'zz'"),
    ],
)
async def test_a_request_that_cannot_be_met_is_answered(state_dir: Path, asked: dict[str, Any], says: str) -> None:
    async with up(state_dir) as (stage, _):
        before = stage.orchestrator.world.deployments
        with pytest.raises(UsageError, match=says):
            await ask(state_dir, asked)
        assert stage.orchestrator.world.deployments == before


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b"\xff\xfe\n", b'"status"\n'])
async def test_what_is_no_request_ends_nothing(state_dir: Path, line: bytes) -> None:
    async with up(state_dir):
        reader, writer = await asyncio.open_unix_connection(control_socket(state_dir))
        writer.write(line)
        assert "error" in json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        assert (await ask(state_dir, {"do": "status"}))["is_steady"]


class TestAnOrchestratorThatDoesNotAnswer:
    async def test_none_there(self, state_dir: Path) -> None:
        with pytest.raises(NothingUp, match="no orchestrator answers") as caught:
            await ask(state_dir, {"do": "status"})
        assert "rollproof up" in caught.value.hint

    async def test_one_that_is_dead(self, state_dir: Path) -> None:
        async with up(state_dir):
            pass
        with pytest.raises(NothingUp):
            await ask(state_dir, {"do": "status"})

    @pytest.mark.parametrize("said", [b"", b'{"ok": {"half'])
    async def test_one_that_dies_before_it_has_answered(self, state_dir: Path, said: bytes) -> None:
        async with listening(state_dir, lambda writer: writer.write(said)):
            with pytest.raises(NothingUp):
                await ask(state_dir, {"do": "status"})

    async def test_one_that_hangs(self, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(control, "_ANSWER_TIMEOUT_S", 0.02)
        async with listening(state_dir, None):
            with pytest.raises(Temporary, match="does not answer"):
                await ask(state_dir, {"do": "status"})

    async def test_a_path_too_long_for_a_socket(self) -> None:
        with pytest.raises(NothingUp):
            await ask(Path("/" + "deep" * 40), {"do": "status"})


@asynccontextmanager
async def listening(state_dir: Path, act: Callable[[asyncio.StreamWriter], None] | None) -> AsyncIterator[None]:
    """Something else behind the socket: it acts and hangs up, or only listens."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        if act is None:
            await over.wait()
        else:
            act(writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, control_socket(state_dir))
    try:
        yield
    finally:
        over.set()
        server.close()
        await server.wait_closed()


def test_an_ambiguous_beginning_is_refused() -> None:
    stage = Stage(Path("/tmp"))
    world = stage.orchestrator.world
    tasks = {x: SimpleNamespace(id=x, is_wanted=True, created_at=0.0) for x in ("ab1", "ab2", "cd3")}
    several = cast("World", SimpleNamespace(tasks=tasks))
    with pytest.raises(UsageError, match="'ab' could be 2 tasks"):
        find_task(several, "ab")
    assert find_task(several, "c") == "cd3"
    with pytest.raises(UsageError, match="no running task"):
        find_task(world, "")


def test_a_deployment_that_only_adds_to_the_environment_keeps_the_rest() -> None:
    world = Stage(Path("/tmp")).orchestrator.world
    given = replace(world.settings.task_definition, environment={"A": "1"}, command=("serve",))
    world = replace(world, settings=replace(world.settings, task_definition=given))
    request = update_request(world, {"environment": {"B": 2}, "image": "app:2"})
    assert request.task_definition is not None
    assert request.task_definition.environment == {"A": "1", "B": "2"}
    assert (request.task_definition.image, request.task_definition.command) == ("app:2", ("serve",))
