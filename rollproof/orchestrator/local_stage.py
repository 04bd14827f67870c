"""The local stage: the embedded balancer, a Redis if the server needs one, and tasks as processes.

Each of them is a process of its own that outlives us. What `state_dir` holds is enough to find them again:

    plan.json     0600: what the stage was opened with        lock        one orchestrator at a time
    store.json    the world (store.py)                        control.sock, balancer.sock
    redis/  tasks/  cookie.key

So `open_stage` on the same directory goes on where a killed orchestrator stopped, and `LocalStage.close` is the
only thing that ends a stage.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from rollproof.core.errors import Permanent, RollproofError, Temporary
from rollproof.core.timing import scale_settings, scale_timing
from rollproof.core.world import World, create_world
from rollproof.history import HistoryFile, Record
from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancerClient,
    attach_balancer,
    start_balancer,
    stop_balancer,
)
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator, load_world
from rollproof.orchestrator.redis_server import RedisServer, attach, provide_redis
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.stage_files import StageLock, StagePlan, read_plan, write_plan
from rollproof.orchestrator.store import JsonFileStore

Listener = Callable[[Record], None]

_SIGTERM_PATIENCE_S = 3.0
_LOOK_S = 0.05
_BALANCER_LOOK_S = 1.0


class LocalStage:
    """An open stage. `orchestrator` runs in `running`; if that ends by itself, it carries the error."""

    def __init__(self, plan: StagePlan, kept: _Kept, parts: _Parts) -> None:
        self.plan, self.redis, self.history, self.adopted = plan, parts.redis, parts.history, kept.adopted
        self._runtime = _runtime(plan)
        self.orchestrator = Orchestrator(
            kept.world,
            runtime=self._runtime,
            balancer=parts.balancer,
            checker=HealthChecker(),
            store=JsonFileStore(plan.state_dir / "store.json"),
            clock=kept.clock,
            recorder=parts.history,
            logs=plan.run_dir / "logs",
            secrets={} if parts.redis is None else {"REDIS_URL": parts.redis.url},
            generation=kept.generation,
            log_offset=kept.log_offset,
        )
        self.running = asyncio.create_task(self._run(), name="orchestrator")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.orchestrator.run(adopted=self.adopted))
            group.create_task(self._keep_balancer())

    async def _keep_balancer(self) -> None:
        """An ALB does not go away: a balancer process that died is started again, on its port."""
        while True:
            await asyncio.sleep(_BALANCER_LOOK_S)
            try:
                await attach_balancer(self.plan.state_dir / "balancer.sock")
            except Temporary:
                self.history.record("fault", name="balancer-died", target="balancer")
                with suppress(RollproofError):
                    await start_balancer(_balancer_options(self.plan))

    @property
    def endpoint(self) -> str:
        return self.plan.endpoint

    @property
    def clock(self) -> StageClock:
        return self.orchestrator.clock

    async def kill_task(self, task_id: str) -> None:
        """The fault "a task dies": SIGKILL from outside, unknown to the scheduler."""
        self.history.record("fault", name="crash", target=task_id)
        await self._runtime.signal(task_id, "SIGKILL")

    async def close(self) -> None:
        """End everything of this stage. What is left of the run is its directory."""
        await self._stop_orchestrator()
        self.history.record("orchestrator", event="stopped")
        await clear(self.plan.state_dir, self._runtime)
        self.history.close()

    async def abandon(self) -> None:
        """Stop deciding, leave all processes: what a killed orchestrator leaves behind."""
        await self._stop_orchestrator()
        self.history.close()

    async def _stop_orchestrator(self) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.running


@asynccontextmanager
async def open_stage(plan: StagePlan, listener: Listener | None = None) -> AsyncIterator[LocalStage]:
    """The stage of `plan`, or the one that is already in its `state_dir`; closed at the end, whatever happens.

    Raises UsageError where another orchestrator holds the directory or the port is taken, Permanent where
    something does not start.
    """
    with StageLock(plan.state_dir):
        stage = await _start(plan, listener)
        try:
            yield stage
        finally:
            await stage.close()


@dataclass(frozen=True)
class _Kept:
    """What a stage goes on from: a new world, or the one that was saved."""

    world: World
    clock: StageClock
    generation: int = 0
    log_offset: int = 0
    adopted: bool = False


@dataclass(frozen=True)
class _Parts:
    balancer: EmbeddedBalancerClient
    redis: RedisServer | None
    history: HistoryFile


async def _start(plan: StagePlan, listener: Listener | None) -> LocalStage:
    saved = read_plan(plan.state_dir)
    try:
        if saved is not None:
            kept = _saved_world(saved)
            if kept is not None:
                return LocalStage(saved, kept, await _start_parts(saved, kept.clock, listener))
        plan = replace(plan, port=plan.port or _free_port(plan.host))
        kept = _new_world(plan)
        return LocalStage(plan, kept, await _start_parts(plan, kept.clock, listener))
    except BaseException:
        await clear(plan.state_dir, _runtime(saved or plan))
        raise


async def _start_parts(plan: StagePlan, clock: StageClock, listener: Listener | None) -> _Parts:
    """The balancer and the Redis that are there, or new ones: on the same port, if one died in between."""
    (plan.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    try:
        balancer = await attach_balancer(plan.state_dir / "balancer.sock")
    except Temporary:
        balancer = await start_balancer(_balancer_options(plan))
    write_plan(plan)
    redis = await provide_redis(plan.state_dir / "redis", url=plan.redis_url) if plan.needs_redis else None
    return _Parts(balancer, redis, HistoryFile(plan.run_dir / "history.jsonl", clock, listener))


def _new_world(plan: StagePlan) -> _Kept:
    clock = StageClock()
    settings, timing = scale_settings(plan.settings, plan.speed), scale_timing(plan.timing, plan.speed)
    return _Kept(create_world(settings, timing, plan.seed, clock.now()), clock)


def _saved_world(plan: StagePlan) -> _Kept | None:
    state = JsonFileStore(plan.state_dir / "store.json").load()
    if state is None:
        return None
    try:
        clock = StageClock.from_json(state["clock"])
        return _Kept(load_world(state), clock, int(state["generation"]), int(state["log_offset"]), adopted=True)
    except (ValidationError, KeyError) as error:
        raise Permanent(
            f"the stage in {plan.state_dir} was left by another version of rollproof",
            hint="rollproof down ends it; then start afresh",
        ) from error


def _runtime(plan: StagePlan) -> ProcessRuntime:
    return ProcessRuntime(plan.state_dir / "runtime", plan.images, speed=plan.speed)


def _balancer_options(plan: StagePlan) -> BalancerOptions:
    return BalancerOptions(
        host=plan.host,
        port=plan.port,
        control=plan.state_dir / "balancer.sock",
        access_log=plan.run_dir / "access.log",
        key_file=plan.state_dir / "cookie.key",
    )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def clear(state_dir: Path, runtime: ProcessRuntime | None = None) -> None:
    """End whatever a stage in `state_dir` has left, and remove the directory. Idempotent."""
    plan = read_plan(state_dir)
    if runtime is None and plan is not None:
        runtime = _runtime(plan)
    if runtime is not None:
        await _end_tasks(runtime)
    with suppress(RollproofError):
        await stop_balancer(state_dir / "balancer.sock", grace_s=0.5)
    redis = await attach(state_dir / "redis")
    if redis is not None:
        await redis.stop()
    shutil.rmtree(state_dir, ignore_errors=True)


async def _end_tasks(runtime: ProcessRuntime) -> None:
    """SIGTERM to all, a moment to end by themselves, then remove what is left."""
    for task in await runtime.describe():
        await runtime.signal(task.task_id, "SIGTERM")
    with suppress(TimeoutError):
        async with asyncio.timeout(_SIGTERM_PATIENCE_S):
            while any(task.exit_code is None for task in await runtime.describe()):
                await asyncio.sleep(_LOOK_S)
    await asyncio.gather(*(runtime.remove(task.task_id) for task in await runtime.describe()))
