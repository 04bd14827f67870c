"""The local stage: a load balancer, a Redis if the server needs one, and tasks as processes.

Each of them is a process of its own that outlives us. What `state_dir` holds is enough to find them again:

    plan.json     0600: what the stage was opened with
    store.json    the world (stage_state.py)              control.sock, balancer.sock
    redis/  runtime/  cookie.key

and beside it `<state_dir>.lock`: one orchestrator at a time. So `open_stage` on the same directory goes on where a
killed orchestrator stopped, and `LocalStage.close` is the only thing that ends a stage.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rollproof.core.errors import Permanent, RollproofError, RuntimeFault, UsageError
from rollproof.core.timing import scale_settings, scale_timing
from rollproof.core.world import create_world
from rollproof.history import HistoryFile, Record, read_history
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.clearing import clear
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.redis_outage import command_counts, need_redis, restart_redis
from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from rollproof.orchestrator.runtimes.freezer import ProcessFreezer
from rollproof.orchestrator.runtimes.port_pool import PortPool
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.runtimes.process_usage import cpu_seconds
from rollproof.orchestrator.stage import Usage
from rollproof.orchestrator.stage_balancer import balancer_again, is_balancer_running, start_balancer, task_ports
from rollproof.orchestrator.stage_files import (
    StageLock,
    StagePlan,
    check_state_dir,
    read_plan,
    redis_dir,
    runtime_dir,
    store_file,
    tasks_dir,
    write_plan,
)
from rollproof.orchestrator.stage_state import StageState
from rollproof.orchestrator.store import JsonFileStore
from rollproof.orchestrator.task_secrets import task_secrets

Listener = Callable[[Record], None]

_BALANCER_LOOK_S = 0.5


class LocalStage:
    """An open stage. `orchestrator` runs in `running`; if that ends by itself, it carries the error."""

    def __init__(self, plan: StagePlan, state: StageState, parts: _Parts) -> None:
        self.plan, self.redis, self.history = plan, parts.redis, parts.history
        self.balancer = parts.balancer_description
        self.adopted = state.is_adopted
        self._runtime = ProcessRuntime(
            runtime_dir(plan.state_dir), plan.images, speed=plan.speed, ports=PortPool(task_ports(plan))
        )
        self.orchestrator = Orchestrator(
            state,
            runtime=self._runtime,
            balancer=parts.balancer,
            checker=HealthChecker(),
            store=JsonFileStore(store_file(plan.state_dir)),
            recorder=parts.history,
            logs=plan.run_dir / "logs",
            secrets=task_secrets(plan, parts.redis),
            requests_recorded=_requests_recorded(plan) if self.adopted else 0,
        )
        self.running = asyncio.create_task(self._run(), name="orchestrator")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.orchestrator.run())
            group.create_task(self._keep_balancer())

    async def _keep_balancer(self) -> None:
        """An ALB does not go away: a balancer process that died is started again, on its port."""
        is_mourned = False
        while True:
            await asyncio.sleep(_BALANCER_LOOK_S)
            if is_balancer_running(self.plan):
                continue
            if not is_mourned:
                self.history.record("fault", name="balancer-died", target="balancer")
            is_mourned = True
            with suppress(RollproofError):  # its port may be taken for a moment: again at the next look
                await start_balancer(self.plan)
                self.orchestrator.republish()
                is_mourned = False

    @property
    def endpoint(self) -> str:
        return self.plan.endpoint

    @property
    def clock(self) -> StageClock:
        return self.orchestrator.clock

    async def kill_task(self, task_id: str) -> None:
        """The fault "a task dies": SIGKILL from outside, unknown to the scheduler."""
        self.history.record("fault", name="crash", target=task_id)
        await self.signal_task(task_id, "SIGKILL")

    async def signal_task(self, task_id: str, signal: str) -> None:
        """A signal from outside to a task's process: SIGKILL, SIGSTOP, SIGCONT. Nothing is recorded."""
        task = self.orchestrator.world.tasks.get(task_id)
        if signal == "SIGKILL":
            await self._runtime.signal(task_id, signal)
        elif task is not None:
            freezer = ProcessFreezer(tasks_dir(self.plan.state_dir))
            change = freezer.freeze if signal == "SIGSTOP" else freezer.thaw
            await asyncio.to_thread(change, task.address)

    async def restart_redis(self) -> None:
        """The fault "Redis restarts": killed, and started again with nothing in it."""
        await restart_redis(self.history, need_redis(self.redis))

    async def usage(self) -> Usage:
        commands = {} if self.redis is None else await command_counts(self.redis.url)
        return Usage(commands, await asyncio.to_thread(cpu_seconds, runtime_dir(self.plan.state_dir)))

    async def close(self) -> None:
        """End everything of this stage. What is left of the run is its directory."""
        await self._stop_orchestrator()
        try:
            self.history.record("orchestrator", event="stopped")
            await clear(self.plan.state_dir)
        finally:
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
    something does not start. A new stage has then left nothing; one that could not be taken over is as it was.
    """
    check_state_dir(plan.state_dir)
    with StageLock(plan.state_dir):
        stage = await _take_over(plan.state_dir, listener) or await _begin(plan, listener)
        try:
            yield stage
        finally:
            await stage.close()


@dataclass(frozen=True)
class _Parts:
    balancer: BalancerClient
    balancer_description: str
    redis: RedisServer | None
    history: HistoryFile


async def _begin(plan: StagePlan, listener: Listener | None) -> LocalStage:
    """A new stage. What one that was killed while it was set has left is ended first."""
    await clear(plan.state_dir)
    try:
        balancer = await start_balancer(plan)
        plan = replace(plan, port=await _port_of(balancer))
        write_plan(plan)
        clock = StageClock()
        settings, timing = scale_settings(plan.settings, plan.speed), scale_timing(plan.timing, plan.speed)
        state = StageState(create_world(settings, timing, plan.seed, clock.now()), clock)
        return LocalStage(plan, state, await _parts(plan, state, balancer, listener))
    except BaseException:
        await clear(plan.state_dir)
        raise


async def _take_over(state_dir: Path, listener: Listener | None) -> LocalStage | None:
    """The stage that a killed orchestrator left, if one did, with a new balancer and Redis where those died, too."""
    plan = read_plan(state_dir)
    saved = JsonFileStore(store_file(state_dir)).load()
    if plan is None or saved is None:
        return None
    try:
        state = StageState.adopt(saved)
        balancer = await balancer_again(plan)
        return LocalStage(plan, state, await _parts(plan, state, balancer, listener))
    except asyncio.CancelledError:  # Ctrl-C means the end, here as later
        await clear(state_dir)
        raise
    except (UsageError, RuntimeFault) as error:
        message = f"cannot take over the stage in {state_dir}: {error.message}"
        raise type(error)(message, hint=error.hint or "rollproof down ends what is left there") from error


async def _parts(plan: StagePlan, state: StageState, balancer: BalancerClient, listener: Listener | None) -> _Parts:
    redis = await provide_redis(redis_dir(plan.state_dir), url=plan.redis_url) if plan.needs_redis else None
    (plan.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    description = await balancer.description()
    return _Parts(balancer, description, redis, HistoryFile(plan.run_dir / "history.jsonl", state.clock, listener))


def _requests_recorded(plan: StagePlan) -> int:
    path = plan.run_dir / "history.jsonl"
    try:
        return sum(record["kind"] == "request" for record in read_history(path))
    except ValueError as error:
        raise Permanent(f"cannot go on with this history: {error}", hint="mend or remove that line") from error


async def _port_of(balancer: BalancerClient) -> int:
    return int(str((await balancer.health())["listen"]).rpartition(":")[2])
