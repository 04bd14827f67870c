"""The docker stage: nginx, Redis and this orchestrator are services of a Compose project, tasks its containers.

Compose starts and ends the parts; the orchestrator ends what it started itself: the tasks. What it needs to go on
after a kill stands in `state_dir`, a volume:

    plan.json, template.json    what the stage was set with       store.json   the world
    runtime/                    the docker runtime's memory       control.sock

A stage that was killed is taken over as it is, unless another programme is asked for: then its tasks are ended
and the service begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.core.settings import Settings
from rollproof.core.timing import scale_settings, scale_timing
from rollproof.core.world import create_world
from rollproof.history import read_history
from rollproof.orchestrator.balancers.embedded import EmbeddedBalancerClient
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.docker_runs import LogFromHere, RunHistory, begin_of, make_run
from rollproof.orchestrator.docker_site import DockerSite
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.ports import Balancer
from rollproof.orchestrator.recording import WorldRecorder
from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from rollproof.orchestrator.runtimes.docker import DockerImage, DockerRuntime
from rollproof.orchestrator.runtimes.docker_engine import Engine
from rollproof.orchestrator.stage_files import StagePlan, read_plan, runtime_dir, store_file, write_plan
from rollproof.orchestrator.stage_state import StageState
from rollproof.orchestrator.store import JsonFileStore

_PARTS_PATIENCE_S = 60.0
_SIGTERM_PATIENCE_S = 3.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Programme:
    """What a stage is set with. `template` are the settings before what-ifs; `plan` has them after."""

    plan: StagePlan
    template: Settings
    strategy: str = ""

    def is_same_play(self, other: Programme) -> bool:
        """Whether a service that was set with one of them is what the other asks for."""
        mine, theirs = (replace(x, run_dir=Path(), state_dir=Path(), images={}) for x in (self.plan, other.plan))
        return mine == theirs and (self.template, self.strategy) == (other.template, other.strategy)


PROGRAMME: TypeAdapter[Programme] = TypeAdapter(Programme)


class HealthyBalancer(Balancer, Protocol):
    """A data plane in another container, which may be up or not."""

    async def health(self) -> object:
        """Raises Temporary while it does not answer."""


class DockerStage:
    """An open stage. `orchestrator` runs in `running`; if that ends by itself, it carries the error."""

    def __init__(self, programme: Programme, site: DockerSite, state: StageState, parts: _Parts) -> None:
        self.programme, self.redis, self.adopted = programme, parts.redis, state.is_adopted
        self._site, self._runtime, self._balancer = site, parts.runtime, parts.balancer
        plan = programme.plan
        self.run_dir = self._own_run = plan.run_dir
        self.history = RunHistory(plan.run_dir, state.clock)
        self.orchestrator = Orchestrator(
            state,
            runtime=parts.runtime,
            balancer=parts.balancer,
            checker=HealthChecker(),
            store=JsonFileStore(store_file(plan.state_dir)),
            recorder=self.history,
            logs=plan.run_dir / "logs",
            secrets={} if parts.redis is None else {"REDIS_URL": parts.redis.url},
            requests_recorded=_requests_recorded(plan.run_dir) if self.adopted else 0,
        )
        self.running = asyncio.create_task(self.orchestrator.run(), name="orchestrator")

    @property
    def plan(self) -> StagePlan:
        """With the run that is on."""
        return replace(self.programme.plan, run_dir=self.run_dir)

    @property
    def endpoint(self) -> str:
        return self.plan.endpoint

    @property
    def clock(self) -> StageClock:
        return self.orchestrator.clock

    @property
    def is_ready(self) -> bool:
        """Whether the service has been steady once."""
        return self.orchestrator.world.is_steady or self.orchestrator.world.last_completed is not None

    async def kill_task(self, task_id: str) -> None:
        """The fault "a task dies": SIGKILL from outside, unknown to the scheduler."""
        self.history.record("fault", name="crash", target=task_id)
        await self._runtime.signal(task_id, "SIGKILL")

    def begin_run(self, name: str) -> None:
        """From now on the history is that of a new run. It begins with everything as it is."""
        logs = (self._own_run / "logs").resolve()
        run_dir = make_run(self._own_run.parent, name, offset=self._balancer.read_until, logs=logs)
        self._go_on_in(run_dir)
        world = replace(self.orchestrator.world, service_events=())  # what was said before is not this run's
        WorldRecorder(self.history).changed(world, self.clock.now())

    def end_run(self) -> None:
        """What happens from now on is no longer part of the run."""
        if self.run_dir != self._own_run:
            self._go_on_in(self._own_run)

    def _go_on_in(self, run_dir: Path) -> None:
        self.history.go_on_in(run_dir)
        self.run_dir = run_dir

    async def close(self) -> None:
        """End the service: its tasks, and all that was kept of it. Compose ends the rest."""
        await self.abandon_loop()
        try:
            self.history.record("orchestrator", event="stopped")
            await end_tasks(self._runtime)
            _forget(self.plan.state_dir)
        finally:
            await self._runtime.close()
            self.history.close()

    async def abandon_loop(self) -> None:
        """Stop deciding."""
        self.running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.running


@dataclass(frozen=True)
class _Parts:
    runtime: DockerRuntime
    balancer: LogFromHere
    redis: RedisServer | None


@asynccontextmanager
async def open_stage(programme: Programme, site: DockerSite) -> AsyncIterator[DockerStage]:
    """The stage of `programme`: the one that a killed orchestrator left, if it had the same, else a new one.

    Raises Permanent or Temporary where a part of the project cannot be used. Closed at the end; after an error,
    too, since whoever starts the orchestrator again gets a stage that is whole.
    """
    stage = await start_stage(programme, site)
    try:
        yield stage
    finally:
        await stage.close()


async def start_stage(programme: Programme, site: DockerSite) -> DockerStage:
    """As `open_stage`, without its end."""
    kept = _kept(programme)
    runtime = await _runtime(programme.plan, site)
    try:
        if kept is None:
            await end_tasks(runtime)
            _forget(programme.plan.state_dir)
            await runtime.close()
            runtime = await _runtime(programme.plan, site)
            return await _begin(programme, site, runtime)
        state, saved = kept
        parts = await _parts(saved, site, runtime, begin_of(saved.plan.run_dir))
        return DockerStage(saved, site, state, parts)
    except BaseException:
        await runtime.close()
        raise


def _kept(programme: Programme) -> tuple[StageState, Programme] | None:
    """What a killed orchestrator left, if this programme can go on with it."""
    state_dir = programme.plan.state_dir
    try:
        plan, world = read_plan(state_dir), JsonFileStore(store_file(state_dir)).load()
        if plan is None or world is None:
            return None
        saved = PROGRAMME.validate_json((state_dir / "programme.json").read_bytes())
        saved = replace(saved, plan=plan)
        return (StageState.adopt(world), saved) if saved.is_same_play(programme) else None
    except (OSError, ValueError, RollproofError):
        return None  # another version's: nothing to go on with


async def _begin(programme: Programme, site: DockerSite, runtime: DockerRuntime) -> DockerStage:
    plan = programme.plan
    plan.state_dir.mkdir(parents=True, exist_ok=True)
    begin = site.access_log.stat().st_size if site.access_log.exists() else 0
    run_dir = make_run(plan.run_dir, "up", offset=begin)
    plan = replace(plan, run_dir=run_dir, host=site.alb[0], port=site.alb[1])
    programme = replace(programme, plan=plan)
    parts = await _parts(programme, site, runtime, begin)
    clock = StageClock()
    settings, timing = scale_settings(plan.settings, plan.speed), scale_timing(plan.timing, plan.speed)
    # A balancer refuses tables older than its own, and it may have those of an earlier stage.
    generation = int(time.time() * 1_000_000)
    state = StageState(create_world(settings, timing, plan.seed, clock.now()), clock, generation)
    write_plan(plan)
    (plan.state_dir / "programme.json").write_bytes(PROGRAMME.dump_json(programme))
    return DockerStage(programme, site, state, parts)
