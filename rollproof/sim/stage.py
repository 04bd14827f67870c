"""The in-process stage: everything of a local stage, in one process and in virtual time.

    with virtual(seed) as loop, modules_restored():
        async with open_sim_stage(loop, plan, apps) as stage: ...

The orchestrator, its health checker, the load balancer's data plane, the probe and uvicorn are the local stage's own;
the network, the processes and the clock are not the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.world import create_world
from rollproof.history import HistoryFile, Record
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.ports import Store
from rollproof.orchestrator.stage import Usage
from rollproof.orchestrator.stage_files import StagePlan
from rollproof.orchestrator.stage_state import StageState
from rollproof.sim.balancer import SimBalancer
from rollproof.sim.loop import BEGINS_AT_S, VirtualLoop
from rollproof.sim.process import Programme
from rollproof.sim.redis import SimRedis
from rollproof.sim.runtime import SimRuntime
from rollproof.sim.virtual import EPOCH_S

REDIS_RESTART_S = 2.0
"""As long as the other stages' Redis takes to be back."""

Listener = Callable[[Record], None]


class SimStage:
    """An open stage. `network`, `runtime`, `load_balancer` and `redis` are what faults take hold of."""

    balancer = "embedded, in process"
    adopted = False

    def __init__(
        self,
        loop: VirtualLoop,
        plan: StagePlan,
        programmes: Mapping[str, Programme],
        redis: SimRedis | None,
        listener: Listener | None,
    ) -> None:
        self.loop, self.plan, self.redis = loop, plan, redis
        self.network = loop.network
        self._clock = StageClock(EPOCH_S, BEGINS_AT_S)
        self.history = HistoryFile(plan.run_dir / "history.jsonl", self._clock, listener)
        self.runtime = SimRuntime(self.network, programmes, health_path=plan.settings.target_group.health_check.path)
        self.load_balancer = SimBalancer(loop, plan.seed, plan.run_dir / "access.log")
        self.checker = HealthChecker()
        self.store: Store = _LastState()
        world = create_world(plan.settings, plan.timing, plan.seed, self._clock.now())
        self.orchestrator = self.make_orchestrator(StageState(world, self._clock))
        self.running: asyncio.Task[Any] = loop.create_task(self.orchestrator.run(), name="orchestrator")

    def make_orchestrator(self, state: StageState, requests_recorded: int = 0) -> Orchestrator:
        return Orchestrator(
            state,
            runtime=self.runtime,
            balancer=self.load_balancer,
            checker=self.checker,
            store=self.store,
            recorder=self.history,
            logs=self.plan.run_dir / "logs",
            secrets=self._secrets(),
            requests_recorded=requests_recorded,
        )

    def _secrets(self) -> dict[str, str]:
        found = {} if self.redis is None else {"REDIS_URL": self.redis.url}
        if self.plan.needs_request_state_key:
            found["MCP_REQUEST_STATE_KEY"] = f"{self.plan.seed:064x}"
        return found

    @property
    def endpoint(self) -> str:
        return self.load_balancer.endpoint

    @property
    def clock(self) -> StageClock:
        return self._clock

    async def kill_task(self, task_id: str) -> None:
        self.history.record("fault", name="crash", target=task_id)
        await self.runtime.signal(task_id, "SIGKILL")

    async def restart_redis(self) -> None:
        if self.redis is None:
            raise UsageError("redis-restart: the stage has no Redis", hint="a strategy that keeps sessions in one")
        self.history.record("fault", name="redis-restart", target=self.redis.description)
        keys = self.redis.keys
        self.redis.stop()
        self.redis.flush()
        await asyncio.sleep(REDIS_RESTART_S)
        await self.redis.start()
        detail = f"away for {REDIS_RESTART_S:.1f} s; the {keys} keys it held are lost (append-only: no)"
        self.history.record("mark", name="redis-back", detail=detail)

    async def usage(self) -> Usage:
        """Redis commands are counted; CPU has no meaning in virtual time."""
        return Usage({} if self.redis is None else dict(self.redis.commands), {})

    async def close(self) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.running
        self.history.record("orchestrator", event="stopped")
        await self.runtime.close()
        self.load_balancer.close()
        if self.redis is not None:
            self.redis.close()
        self.history.close()


class _LastState:
    """Keeps the latest state as it is: values do not change, so there is nothing to copy."""

    def __init__(self) -> None:
        self._state: Mapping[str, Any] | None = None

    def save(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def load(self) -> dict[str, Any] | None:
        return None if self._state is None else dict(self._state)


@asynccontextmanager
async def open_sim_stage(
    loop: VirtualLoop, plan: StagePlan, programmes: Mapping[str, Programme], listener: Listener | None = None
) -> AsyncIterator[SimStage]:
    """The stage of `plan`; closed at the end. Runs in `loop`, unscaled."""
    redis = SimRedis(loop.network) if plan.needs_redis else None
    if redis is not None:
        await redis.start()
    stage = SimStage(loop, plan, programmes, redis, listener)
    await stage.load_balancer.start()
    try:
        yield stage
    finally:
        await stage.close()
