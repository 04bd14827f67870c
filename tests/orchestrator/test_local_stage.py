"""The local stage without tasks, with each balancer: that is real, and so is what stays of it when it is abandoned."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.settings import ServiceSettings, Settings
from rollproof.core.timing import Timing
from rollproof.history import Record, read_history
from rollproof.orchestrator import local_stage
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.clearing import clear
from rollproof.orchestrator.local_stage import LocalStage, open_stage
from rollproof.orchestrator.stage_balancer import is_balancer_running
from rollproof.orchestrator.stage_files import (
    BalancerKind,
    StagePlan,
    balancer_socket,
    holder,
    is_held,
    read_plan,
    store_file,
)
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

DEADLINE_S = 20.0
LOOK_S = 0.01


BALANCERS = [BalancerKind.EMBEDDED, pytest.param(BalancerKind.NGINX, marks=NEEDS_NGINX)]


@pytest.fixture(params=BALANCERS)
def plan(request: pytest.FixtureRequest) -> Iterator[StagePlan]:
    """Of a service that wants no task. The directory is short: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as directory:
        root = Path(directory)
        (root / "run").mkdir()
        settings = Settings(service=ServiceSettings(desired_count=0))
        yield StagePlan(
            root / "s", root / "run", settings, Timing(), {}, speed=100.0, needs_redis=False, balancer=request.param
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def abandoned(plan: StagePlan) -> AsyncIterator[LocalStage]:
    """A stage whose orchestrator is gone when the block begins, its processes not."""
    stage = await local_stage._begin(plan, None)
    await until(lambda: store_file(plan.state_dir).exists())
    await stage.abandon()
    try:
        yield stage
    finally:
        await clear(plan.state_dir)


def history(plan: StagePlan, kind: str) -> list[Record]:
    return [x for x in read_history(plan.run_dir / "history.jsonl") if x["kind"] == kind]


class TestOpening:
    async def test_gives_a_free_port_and_takes_everything_back(self, plan: StagePlan) -> None:
        async with open_stage(plan) as stage:
            assert stage.plan.port > 0
            assert read_plan(plan.state_dir) == stage.plan
            assert holder(plan.state_dir) == os.getpid()
            await until(lambda: bool(history(plan, "orchestrator")))
            assert is_balancer_running(plan)
        assert not is_held(plan.state_dir)
        assert not plan.state_dir.exists()
        assert [x["event"] for x in history(plan, "orchestrator")] == ["started", "stopped"]

    async def test_whatever_happens_inside(self, plan: StagePlan) -> None:
        with pytest.raises(KeyError):
            async with open_stage(plan):
                raise KeyError
        assert not plan.state_dir.exists()

    async def test_a_busy_port_leaves_nothing(self, plan: StagePlan) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            busy = replace(plan, port=int(taken.getsockname()[1]))
            with pytest.raises(UsageError, match="already in use"):
                async with open_stage(busy):
                    pass
        assert not plan.state_dir.exists()
        assert not (plan.run_dir / "history.jsonl").exists()

    async def test_what_cannot_be_begun_leaves_no_balancer(self, plan: StagePlan) -> None:
        """Redis comes after it."""
        with pytest.raises(UsageError, match="REDIS_URL"):
            async with open_stage(replace(plan, needs_redis=True, redis_url="http://no-redis")):
                pass
        assert not is_balancer_running(plan)
        assert not plan.state_dir.exists()

    async def test_one_directory_one_orchestrator(self, plan: StagePlan) -> None:
        async with open_stage(plan):
            with pytest.raises(UsageError, match="another rollproof"):
                async with open_stage(plan):
                    pass
            assert is_balancer_running(plan)

    @pytest.mark.parametrize("after_turns", [1, 3, 10, 30])
    async def test_cancelled_while_it_is_set_it_leaves_nothing(self, plan: StagePlan, after_turns: int) -> None:
        async def open_and_wait() -> None:
            async with open_stage(plan):
                await asyncio.Event().wait()

        opening = asyncio.create_task(open_and_wait())
        for _ in range(after_turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening}, timeout=DEADLINE_S)
        assert opening.cancelled()
        assert not is_held(plan.state_dir)
        assert not plan.state_dir.exists()


class TestTakingOver:
    async def test_goes_on_with_the_plan_the_port_and_the_time_of_the_first(self, plan: StagePlan) -> None:
        async with abandoned(plan) as first:
            then = first.clock.now()
            async with open_stage(replace(plan, port=1, speed=7.0)) as second:
                assert second.adopted
                assert second.plan == first.plan
                assert second.clock.now() >= then
                await until(lambda: len(history(plan, "orchestrator")) == 2)
            assert [x["event"] for x in history(plan, "orchestrator")] == ["started", "adopted", "stopped"]

    async def test_with_a_new_balancer_where_that_died_too(self, plan: StagePlan) -> None:
        async with abandoned(plan):
            os.kill(await balancer_pid(plan), signal.SIGKILL)
            await until(lambda: not is_balancer_running(plan))
            async with open_stage(plan) as second:
                assert await table_is_in_force(second)

    async def test_fails_without_ending_what_runs(self, plan: StagePlan) -> None:
        async with abandoned(plan):
            store_file(plan.state_dir).write_text('{"format": "rollproof-state", "version": 1, "state": {"world": 1}}')
            with pytest.raises(Permanent, match=r"cannot take over the stage in .* another version"):
                async with open_stage(plan):
                    pass
            assert is_balancer_running(plan)
            assert not is_held(plan.state_dir)

    async def test_a_stage_that_had_saved_nothing_is_begun_anew(self, plan: StagePlan) -> None:
        async with abandoned(plan) as first:
            store_file(plan.state_dir).unlink()
            old = await balancer_pid(plan)
            async with open_stage(replace(plan, run_dir=first.plan.run_dir)) as second:
                assert not second.adopted
                assert await balancer_pid(plan) != old


class TestBalancer:
    async def test_that_dies_is_started_again_on_its_port_with_its_table(self, plan: StagePlan) -> None:
        async with open_stage(plan) as stage:
            old = await balancer_pid(plan)
            os.kill(old, signal.SIGKILL)
            await until(lambda: bool(history(plan, "fault")))
            assert await table_is_in_force(stage)
            assert await balancer_pid(plan) != old
            assert await listens_on(plan) == stage.plan.port
            assert [x["name"] for x in history(plan, "fault")] == ["balancer-died"]

    @pytest.mark.parametrize("plan", [pytest.param(BalancerKind.NGINX, marks=NEEDS_NGINX)], indirect=True)
    async def test_whose_nginx_dies_is_started_again_too(self, plan: StagePlan) -> None:
        """Its agent lives, and has nothing left to do."""
        async with open_stage(plan) as stage:
            old = await health(plan)
            os.kill(old["nginx_pid"], signal.SIGKILL)
            await until(lambda: bool(history(plan, "fault")))
            assert await table_is_in_force(stage)
            new = await health(plan)
            assert (new["pid"] != old["pid"], new["listen"]) == (True, old["listen"])
        assert not [x for x in psutil.process_iter() if belongs_to(x, plan)]

    async def test_says_what_it_is(self, plan: StagePlan) -> None:
        async with open_stage(plan) as stage:
            assert stage.balancer.partition(" ")[0] == plan.balancer.value


def belongs_to(process: psutil.Process, plan: StagePlan) -> bool:
    try:
        return str(plan.state_dir) in " ".join(process.cmdline())
    except psutil.Error:
        return False


async def health(plan: StagePlan) -> Mapping[str, Any]:
    return await BalancerClient(balancer_socket(plan.state_dir), Path()).health()


async def balancer_pid(plan: StagePlan) -> int:
    return int((await health(plan))["pid"])


async def listens_on(plan: StagePlan) -> int:
    return int(str((await health(plan))["listen"]).rpartition(":")[2])


async def table_is_in_force(stage: LocalStage) -> bool:
    """Waits until the balancer, where there is one, has a table."""
    client = BalancerClient(balancer_socket(stage.plan.state_dir), Path())
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(Temporary):  # it is only starting
                if is_balancer_running(stage.plan) and await client.table() is not None:
                    return True
            await asyncio.sleep(LOOK_S)
