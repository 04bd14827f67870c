"""The docker stage: nginx, Redis and this orchestrator are services of a Compose project, tasks its containers.

Compose starts and ends the parts; the orchestrator ends what it started itself: the tasks. What it needs to go on
after a kill stands in `state_dir`, a volume:

    plan.json, programme.json   what the stage was set with    store.json     the world
    runtime/                    the docker runtime's memory    control.sock

A stage whose orchestrator was killed is taken over as it is. If Compose now starts the orchestrator with other
settings, the tasks are ended and the service begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.core.settings import Settings
from rollproof.core.timing import scale_settings, scale_timing
from rollproof.core.world import create_world
from rollproof.history import read_history
from rollproof.orchestrator.balancers.embedded import EmbeddedBalancerClient
from rollproof.orchestrator.balancers.nginx import NginxBalancerClient
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.docker_programme import Programme
from rollproof.orchestrator.docker_runs import LogFromHere, RunHistory, begin_of, copy_log_part, make_run
from rollproof.orchestrator.docker_site import DockerSite
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator
from rollproof.orchestrator.ports import Balancer
from rollproof.orchestrator.recording import WorldRecorder
from rollproof.orchestrator.redis_outage import command_counts, need_redis, restart_redis, shut_down
from rollproof.orchestrator.redis_server import RedisServer, provide_redis
from rollproof.orchestrator.runtimes.docker import DockerImage, DockerRuntime
from rollproof.orchestrator.runtimes.docker_engine import Engine
from rollproof.orchestrator.stage import Usage
from rollproof.orchestrator.stage_files import (
    StagePlan,
    control_socket,
    read_plan,
    runtime_dir,
    store_file,
    write_plan,
)
from rollproof.orchestrator.stage_state import StageState
from rollproof.orchestrator.store import JsonFileStore
from rollproof.orchestrator.task_secrets import task_secrets

_PARTS_PATIENCE_S = 60.0
_SIGTERM_PATIENCE_S = 3.0
_LOOK_S = 0.1
_BALANCER_LOOK_S = 0.2
_REDIS = "redis"  # its service in docker-compose.yml
_PROGRAMME_FILE = "programme.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Saved:
    """programme.json. `base` is what Compose started the orchestrator with, `current` what a client asked for since."""

    base: Programme
    current: Programme


_SAVED: TypeAdapter[_Saved] = TypeAdapter(_Saved)


class _DataPlane(Balancer, Protocol):
    async def health(self) -> Mapping[str, Any]:
        """Raises Temporary while it does not answer."""

    async def description(self) -> str:
        """Raises Temporary while it does not answer."""


class DockerStage:
    """An open stage. `orchestrator` runs in `running`; if that ends by itself, it carries the error."""

    def __init__(self, programme: Programme, site: DockerSite, state: StageState, parts: _Parts) -> None:
        self.programme, self.redis, self.adopted = programme, parts.redis, state.is_adopted
        self.balancer, self._site, self._runtime = parts.balancer_description, site, parts.runtime
        self._balancer, self._data_plane = parts.balancer, parts.data_plane
        plan = programme.plan
        self._own_run, self.run_dir = plan.run_dir, _run_that_is_on(plan)
        self.history = RunHistory(self.run_dir, state.clock)
        self.orchestrator = Orchestrator(
            state,
            runtime=parts.runtime,
            balancer=parts.balancer,
            checker=HealthChecker(),
            store=JsonFileStore(store_file(plan.state_dir)),
            recorder=self.history,
            logs=plan.run_dir / "logs",
            secrets=task_secrets(plan, parts.redis),
            requests_recorded=_requests_recorded(self.run_dir) if self.adopted else 0,
        )
        self.running = asyncio.create_task(self._run(), name="orchestrator")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.orchestrator.run())
            group.create_task(self._watch_balancer())

    async def _watch_balancer(self) -> None:
        """One that was killed is started again without a table: it gets it at once, not with the next tick."""
        generation, is_away = -1, False
        while True:
            await asyncio.sleep(_BALANCER_LOOK_S)
            try:
                seen = int((await self._data_plane.health())["generation"])
            except Temporary:
                if not is_away:
                    self.history.record("fault", name="balancer-died", target="balancer")
                is_away = True
                continue
            if is_away or seen < generation:
                self.orchestrator.republish()
            generation, is_away = seen, False

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

    async def restart_redis(self) -> None:
        """The fault "Redis restarts": it ends by itself when asked to, and the project's keeper starts it again."""
        await restart_redis(self.history, need_redis(self.redis), partial(shut_down, host=_REDIS))

    async def usage(self) -> Usage:
        commands = {} if self.redis is None else await command_counts(self.redis.url)
        return Usage(commands, await self._runtime.cpu_seconds())

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
            copy_log_part(self._site.access_log, begin_of(self.run_dir), self._balancer.read_until, self.run_dir)
            self._go_on_in(self._own_run)

    def _go_on_in(self, run_dir: Path) -> None:
        """A successor goes on in the run that is on, too: it reads of it in the plan."""
        self.history.go_on_in(run_dir)
        self.run_dir = run_dir
        write_plan(self.plan)

    async def close(self) -> None:
        """End the service: its tasks, and what was kept of it. Compose ends the rest."""
        await self._stop_deciding()
        try:
            self.history.record("orchestrator", event="stopped")
            await end_tasks(self._runtime)
            shutil.rmtree(self.plan.state_dir, ignore_errors=True)
        finally:
            await self._let_go()

    async def abandon(self) -> None:
        """Leave everything as a kill would: the next orchestrator takes over."""
        await self._stop_deciding()
        await self._let_go()

    async def _let_go(self) -> None:
        await self._runtime.close()
        self.history.close()

    async def _stop_deciding(self) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.running


@dataclass(frozen=True)
class _Parts:
    runtime: DockerRuntime
    data_plane: _DataPlane
    balancer: LogFromHere  # the same, with the run's part of its log
    balancer_description: str
    redis: RedisServer | None


async def take_over_or_begin(base: Programme, site: DockerSite) -> DockerStage:
    """The stage that a killed orchestrator left, if Compose asks for the same again; else a new one.

    Raises Permanent or Temporary where a part of the project cannot be used.
    """
    kept = _kept(base, site)
    if kept is None:
        return await begin(base, base, site)
    state, current = kept
    runtime = await _open_runtime(current, site)
    try:
        parts = await _parts(current, site, runtime, begin_of(_run_that_is_on(current.plan)))
        return DockerStage(current, site, state, parts)
    except BaseException:
        await runtime.close()
        raise


def _kept(base: Programme, site: DockerSite) -> tuple[StageState, Programme] | None:
    state_dir = base.plan.state_dir
    try:
        world = JsonFileStore(store_file(state_dir)).load()
        saved = _SAVED.validate_json((state_dir / _PROGRAMME_FILE).read_bytes())
        if world is None or not saved.base.is_same_play(base):
            return None
        if site.access_log.stat().st_size < begin_of(_run_that_is_on(saved.current.plan)):
            log.info("the load balancer's log is another one: the stage is set anew")
            return None
        return StageState.adopt(world), saved.current
    except (OSError, ValueError, RollproofError) as error:
        log.info("no stage to take over in %s: %s", state_dir, error)
        return None


async def begin(programme: Programme, base: Programme, site: DockerSite) -> DockerStage:
    """A new stage of `programme`; what an earlier one left is ended. Raises as `take_over_or_begin`."""
    plan, runs_dir = programme.plan, base.plan.run_dir
    old = await _open_runtime(programme, site)
    await end_tasks(old)
    await old.close()
    _empty(plan.state_dir)
    log_begin = site.access_log.stat().st_size if site.access_log.exists() else 0
    runtime = await _open_runtime(programme, site)
    try:
        settings = await _with_stop_signal(plan.settings, site, runtime)
        run_dir = make_run(runs_dir, "up", offset=log_begin)
        plan = replace(plan, settings=settings, run_dir=run_dir, host=site.alb[0], port=site.alb[1])
        programme = replace(programme, plan=plan)
        parts = await _parts(programme, site, runtime, log_begin)
        write_plan(plan)
        (plan.state_dir / _PROGRAMME_FILE).write_bytes(_SAVED.dump_json(_Saved(base, programme)))
        return DockerStage(programme, site, _new_state(plan), parts)
    except BaseException:
        await runtime.close()
        raise


def _empty(state_dir: Path) -> None:
    """Without the control socket: clients wait on it while the stage is set anew."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in state_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != control_socket(state_dir):
            path.unlink(missing_ok=True)


def _new_state(plan: StagePlan) -> StageState:
    clock = StageClock()
    settings, timing = scale_settings(plan.settings, plan.speed), scale_timing(plan.timing, plan.speed)
    # A balancer refuses tables older than its own, and it may still have those of an earlier stage.
    generation = int(time.time() * 1_000_000)
    return StageState(create_world(settings, timing, plan.seed, clock.now()), clock, generation)


async def _with_stop_signal(settings: Settings, site: DockerSite, runtime: DockerRuntime) -> Settings:
    """The image's STOPSIGNAL, which ECS honours (WN-2025-12)."""
    definition = settings.task_definition
    stop_signal = await runtime.stop_signal_of(site.image)
    if not stop_signal or stop_signal == definition.stop_signal:
        return settings
    return replace(settings, task_definition=replace(definition, stop_signal=stop_signal))


async def _open_runtime(programme: Programme, site: DockerSite) -> DockerRuntime:
    plan = programme.plan
    runtime = DockerRuntime(
        runtime_dir(plan.state_dir),
        site.project,
        {name: DockerImage(site.image) for name in plan.images},
        engine=Engine(site.engine),
        endpoint=site.endpoint,
        speed=plan.speed,
    )
    await runtime.open()
    return runtime


async def _parts(programme: Programme, site: DockerSite, runtime: DockerRuntime, log_begin: int) -> _Parts:
    """Waits for what Compose is still starting."""
    balancer = _balancer(site)
    try:
        async with asyncio.timeout(_PARTS_PATIENCE_S):
            while not await _answers(balancer):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise Temporary(
            f"the load balancer behind {site.control} did not answer for {_PARTS_PATIENCE_S:g} s",
            hint="docker compose ps lb; docker compose logs lb",
        ) from None
    plan = programme.plan
    redis = await provide_redis(plan.state_dir / "redis", url=site.redis_url) if plan.needs_redis else None
    return _Parts(runtime, balancer, LogFromHere(balancer, log_begin), await balancer.description(), redis)


def _balancer(site: DockerSite) -> _DataPlane:
    """Raises UsageError for one that there is not."""
    if site.balancer == "embedded":
        return EmbeddedBalancerClient(site.control, site.access_log)
    if site.balancer != "nginx":
        raise UsageError(f"ROLLPROOF_BALANCER={site.balancer}", hint="nginx or embedded")
    return NginxBalancerClient(site.control, site.access_log)


async def _answers(balancer: _DataPlane) -> bool:
    try:
        await balancer.health()
    except Temporary:
        return False
    return True


def _run_that_is_on(plan: StagePlan) -> Path:
    saved = read_plan(plan.state_dir)
    return plan.run_dir if saved is None else saved.run_dir


def _requests_recorded(run_dir: Path) -> int:
    path = run_dir / "history.jsonl"
    try:
        return sum(record["kind"] == "request" for record in read_history(path))
    except (OSError, ValueError) as error:
        raise Permanent(f"cannot go on with this history: {error}", hint="docker compose down -v, then up") from error


async def end_tasks(runtime: DockerRuntime) -> None:
    """SIGTERM to all, a moment to end by themselves, then remove what is left."""
    tasks = await runtime.describe()
    await asyncio.gather(*(runtime.signal(x.task_id, "SIGTERM") for x in tasks if x.exit_code is None))
    with suppress(TimeoutError):
        async with asyncio.timeout(_SIGTERM_PATIENCE_S):
            while any(x.exit_code is None for x in await runtime.describe()):
                await asyncio.sleep(_LOOK_S)
    await runtime.remove_all()
