"""The play: set a stage, warm up, disrupt, wait until steady, judge.

    async with open_stage(plan) as stage:      # balancer, Redis, tasks: until the service is steady
        probe warmed up                        # every session has written and read once
        disrupt                                # a deployment, a bad image, a crash, StopTask, ...: disruptions.py
        wait until steady again
        probe ended                            # one last read of every session
    judge(history)

What the command line and the pytest plugin both call.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollproof.api.knobs import setting_rows
from rollproof.core.deployment import failure_threshold
from rollproof.core.errors import Permanent, Temporary
from rollproof.core.platforms import FARGATE, find_platform, settings_on_platform, source_of, timing_on_platform
from rollproof.core.settings import Settings
from rollproof.core.timing import APPLICATION_TIME, Timing, scale_settings, scale_timing
from rollproof.core.world import World
from rollproof.disruptions import AS_PROCESSES, JUDGED_AS, BadCommands, Disruption, check_possible, disrupt, restore
from rollproof.history import Record, read_history
from rollproof.orchestrator.clearing import REHEARSAL_PREFIX, clear_abandoned
from rollproof.orchestrator.local_stage import open_stage
from rollproof.orchestrator.redis_outage import not_ours
from rollproof.orchestrator.stage import Service, Stage
from rollproof.orchestrator.stage_files import BalancerKind, StagePlan
from rollproof.platforms import check_platform, probe_on_platform
from rollproof.probe import ProbeOptions
from rollproof.probing import measure, probing, together, warm_up
from rollproof.report import write_reports
from rollproof.subject import Subject
from rollproof.verdict.model import Verdict

AWS = Timing()
PROBE = ProbeOptions("http://localhost/mcp", sessions=20, delay_s=1.0)

_RESTORING_S = 5.0
_MARGIN_S = 60.0
_LOG_LINES = 12


@dataclass(frozen=True)
class Rehearsal:
    """Everything that a run is made of. `settings` with what-ifs applied, `template` without; both unscaled."""

    subject: Subject
    template: Settings
    timing: Timing = AWS
    disruption: Disruption = Disruption.ROLLING
    probe: ProbeOptions = PROBE  # its endpoint is replaced by the stage's
    mcp_path: str = "/mcp"
    speed: float = 10.0
    seed: int = 1
    runs_dir: Path = Path("runs")
    name: str = "rehearsal"
    port: int = 0
    redis_url: str = ""
    balancer: BalancerKind = BalancerKind.EMBEDDED
    timeout_s: float = 0.0  # for each wait for a steady state; 0: from the timings
    command: str = "rollproof rehearse"
    strategy: str = ""
    platform: str = FARGATE  # whose settings `subject` and `timing` have: see `on_platform`
    bad_commands: BadCommands = field(default_factory=lambda: AS_PROCESSES)
    probe_given: tuple[str, ...] = ()  # fields of `probe` that were asked for: a strategy of the stage's leaves them
    needs_warm_up: bool = True  # off: sessions that fail from the first call on are disrupted all the same
    measure_s: float = 0.0  # real seconds of calls before the disruption, in which is measured what they cost

    @property
    def settings(self) -> Settings:
        return self.subject.settings


@dataclass(frozen=True)
class Rehearsed:
    verdict: Verdict
    run_dir: Path


async def rehearse(
    rehearsal: Rehearsal,
    *,
    listener: Callable[[Record], None] | None = None,
) -> Rehearsed:
    """Play it to the end. Nothing of the stage is left running, whatever happens; the run's directory stays.

    What an earlier rehearsal of this user left because it was killed is ended first. Raises UsageError (port in
    use, ...), Permanent where the service never becomes steady, Temporary where the probe cannot warm up.
    """
    check_possible(
        rehearsal.disruption,
        desired_count=rehearsal.settings.service.desired_count,
        has_redis=rehearsal.subject.needs_redis,
    )
    if rehearsal.disruption is Disruption.REDIS_RESTART and rehearsal.redis_url:
        raise not_ours("REDIS_URL given")
    check_platform(rehearsal.platform, rehearsal.settings, rehearsal.probe, rehearsal.disruption)
    await clear_abandoned(Path(tempfile.gettempdir()))
    with run_directory(rehearsal.runs_dir, rehearsal.name) as run_dir, _temporary_directory() as directory:
        plan = stage_plan(rehearsal, directory / "stage", run_dir)
        async with open_stage(plan, listener) as stage:
            record_settings(stage, rehearsal)
            await play(stage, rehearsal)
    return Rehearsed(write_reports(run_dir, read_history(run_dir / "history.jsonl")), run_dir)


def on_platform(rehearsal: Rehearsal, name: str) -> Rehearsal:
    """The same on another platform, with no more sessions than that has by default. Raises UsageError, NotModelled."""
    subject = rehearsal.subject
    moved = replace(
        rehearsal,
        subject=replace(subject, settings=settings_on_platform(subject.settings, name)),
        timing=timing_on_platform(rehearsal.timing, name),
        probe=probe_on_platform(rehearsal.probe, name),
        platform=name,
    )
    check_platform(name, moved.settings, moved.probe, moved.disruption)
    return moved


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """A stage that could not be ended altogether keeps its directory, so that `rollproof down` can try again."""
    directory = Path(tempfile.mkdtemp(prefix=REHEARSAL_PREFIX))
    try:
        yield directory
    finally:
        with suppress(OSError):
            directory.rmdir()


@contextmanager
def run_directory(runs_dir: Path, name: str) -> Iterator[Path]:
    """A new run's directory; gone again if no history came to be. Raises Permanent where it cannot be made."""
    path = _make_run_dir(runs_dir, name)
    try:
        yield path
    finally:
        if not (path / "history.jsonl").exists():
            shutil.rmtree(path, ignore_errors=True)


def _make_run_dir(runs_dir: Path, name: str) -> Path:
    """`runs/<UTC time>-<name>`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for suffix in ("", *(f".{n}" for n in range(2, 100))):
        path = runs_dir / f"{stamp}-{name}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise Permanent(f"cannot make {path}: {error.strerror}", hint="give --runs DIR") from error
        return path.absolute()
    raise Permanent(f"too many runs at once in {runs_dir}")


def stage_plan(rehearsal: Rehearsal, state_dir: Path, run_dir: Path) -> StagePlan:
    """What its stage is opened with."""
    return StagePlan(
        state_dir=state_dir,
        run_dir=run_dir,
        settings=rehearsal.settings,
        timing=rehearsal.timing,
        images=rehearsal.subject.images,
        speed=rehearsal.speed,
        seed=rehearsal.seed,
        port=rehearsal.port,
        needs_redis=rehearsal.subject.needs_redis,
        needs_request_state_key=rehearsal.subject.needs_request_state_key,
        redis_url=rehearsal.redis_url,
        balancer=rehearsal.balancer,
    )


async def play(stage: Stage, rehearsal: Rehearsal) -> None:
    """Warm up, disrupt, wait until steady, on a stage that is open. Raises as `rehearse`."""
    patience = Patience(stage, rehearsal)
    await patience.wait("the service to become steady", _is_settled, fail_early=True)
    desired_count = stage.orchestrator.world.settings.service.desired_count
    probe_of, path, seed = rehearsal.probe, rehearsal.mcp_path, rehearsal.seed
    if rehearsal.measure_s:
        await measure(stage, probe_of, path, seed, rehearsal.measure_s)
    try:
        async with probing(stage, probe_of, path, seed) as probe:
            keeps_sessions = find_platform(rehearsal.platform).keeps_sessions
            if not await warm_up(stage, probe, is_needed=rehearsal.needs_warm_up and keeps_sessions):
                stage.history.record("mark", name="not-warmed-up")
            is_over = await disrupt(stage, rehearsal.disruption, rehearsal.bad_commands)
            await patience.wait(f"the {rehearsal.disruption} to end in a steady state", is_over)
            # What is said a moment after the fact (completed, then steady: O6, O13) belongs to it, in virtual time too.
            said = max((event.at for event in stage.orchestrator.world.service_events), default=0.0)
            stage.history.record("mark", name="steady", t=max(stage.clock.now(), said))
            await together(stage, asyncio.sleep(2 * probe_of.delay_s + 1.0))
    finally:
        await _restored(stage, desired_count)


async def _restored(stage: Stage, desired_count: int) -> None:
    """What a scale-in took. A stage that has ended itself needs nothing any more."""
    with suppress(TimeoutError, Temporary):
        async with asyncio.timeout(_RESTORING_S):
            await together(stage, restore(stage, desired_count))


def _is_settled(world: World) -> bool:
    """Steady, and nothing of an earlier rollout drains any more: ECS says steady before that."""
    return world.is_steady and all(target.draining_at is None for target in world.targets.values())


class Patience:
    """Waits for the service, as long as its timings can take: twice that, plus a minute."""

    def __init__(self, stage: Stage, rehearsal: Rehearsal) -> None:
        self._stage, self._timeout_s = stage, rehearsal.timeout_s or patience_s(rehearsal)

    async def wait(self, what: str, condition: Callable[[World], bool], *, fail_early: bool = False) -> None:
        """Raises Permanent when `condition` does not hold in time, with what the tasks themselves said."""
        orchestrator = self._stage.orchestrator

        def is_over(world: World) -> bool:
            return condition(world) or (fail_early and _is_hopeless(world))

        try:
            async with asyncio.timeout(self._timeout_s):
                await together(self._stage, orchestrator.wait_for(is_over))
        except TimeoutError:
            message = f"waited {self._timeout_s:.0f} s for {what}"
        else:
            if condition(orchestrator.world):
                return
            message = "the service never became steady"
        raise Permanent(f"{message}: {_situation(orchestrator)}", hint=_log_hint(self._stage))


def patience_s(rehearsal: Rehearsal) -> float:
    """Real seconds in which any of its rollouts ends, if it ends at all.

    A start and a stop take at most about `start + delay + stop`; stop-first batches and failing tasks repeat that.
    """
    settings = scale_settings(rehearsal.settings, rehearsal.speed)
    timing, service = scale_timing(rehearsal.timing, rehearsal.speed), settings.service
    start_s = timing.deployment_start_s + timing.pull_stop_s + timing.running_after_registration_s
    start_s += timing.healthy_bake_s + 5 * timing.scheduler_tick_s + service.health_check_grace_period_s
    stop_s = settings.target_group.deregistration_delay_s + 3 * timing.scheduler_tick_s + timing.deprovisioning_s
    check = settings.target_group.health_check
    fail_s = check.unhealthy_threshold * (check.interval_s + check.timeout_s)
    rounds = max(
        2, -(-service.desired_count * 100 // max(1, service.maximum_percent - service.minimum_healthy_percent))
    )
    if rehearsal.disruption in (Disruption.BAD_IMAGE, Disruption.CRASHING_IMAGE):
        rounds += failure_threshold(service.circuit_breaker, service.desired_count)
    return 2 * rounds * (start_s + stop_s + fail_s + settings.task_definition.stop_timeout_s) + _MARGIN_S


def _is_hopeless(world: World) -> bool:
    """Two tasks have failed before the service was ever steady: the next ones will, too.

    To ECS a task that crashes once it is RUNNING has not failed; at a high speed RUNNING comes before a server is up.
    """
    crashed = sum(task.crashed for task in world.tasks.values())
    return world.last_completed is None and max(world.primary.failed_tasks, crashed) >= 2


def _situation(orchestrator: Service) -> str:
    """Why it may not be steady: what the machine refuses, else how the last task failed, else what ECS said last."""
    world = orchestrator.world
    if orchestrator.trouble:
        return orchestrator.trouble
    ended = [x for x in world.tasks.values() if x.crashed or x.unhealthy_reason]
    if not ended:
        states = ", ".join(f"task {x.id[:8]} {x.known.name}" for x in world.tasks.values() if x.is_wanted)
        said = f'; the last service event: "{world.service_events[-1].message}"' if world.service_events else ""
        return (states or "no task was started") + said
    last = ended[-1]
    if last.unhealthy_reason:
        return f"task {last.id[:8]}: {last.unhealthy_reason}"
    code = "" if last.exit_code is None else f" (exit code {last.exit_code})"
    return f"task {last.id[:8]}: {last.stopped_reason}{code}"


def _log_hint(stage: Stage) -> str:
    """The last lines of the newest task log, which say more than we can."""
    logs = sorted((stage.plan.run_dir / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return f"no task has logged anything; the run is in {stage.plan.run_dir}"
    lines = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    said = "\n".join(f"    {line[:200]}" for line in lines) or "    (nothing)"
    return f"its log, {logs[-1]}, ends with:\n{said}"


def record_settings(stage: Stage, rehearsal: Rehearsal, *, stage_name: str = "local") -> None:
    """Every knob as it is used, in real seconds, with its source: the verdict and the report go by these."""
    settings = scale_settings(rehearsal.settings, rehearsal.speed)
    template = scale_settings(rehearsal.template, rehearsal.speed)
    record = stage.history.record
    for row in setting_rows(settings, template):
        extra = {} if row.template_value is None else {"template_value": row.template_value}
        record("setting", name=row.name, value=row.value, source=row.source, **extra)
    used, profile = scale_timing(rehearsal.timing, rehearsal.speed), find_platform(rehearsal.platform).timing
    for timing in fields(used):
        changed = getattr(rehearsal.timing, timing.name) != getattr(AWS, timing.name)
        source = "--set" if changed else timing.metadata["source"]
        if changed and profile.get(timing.name) == getattr(rehearsal.timing, timing.name):
            source = source_of(rehearsal.platform)
        record("setting", name=f"timing.{timing.name}", value=getattr(used, timing.name), source=source)
    others: Mapping[str, Any] = {
        "stage": stage_name,
        "speed": rehearsal.speed,
        "unscaled": ", ".join(APPLICATION_TIME),
        "seed": rehearsal.seed,
        "disruption": JUDGED_AS[rehearsal.disruption],
        "disruption_name": rehearsal.disruption.value,
        "strategy": rehearsal.strategy,
        "platform": rehearsal.platform,
        "command": rehearsal.command,
        "endpoint": stage.endpoint,
        "balancer": stage.balancer,
        "redis": stage.redis.description if stage.redis else "none",
    }
    for name, value in others.items():
        record("setting", name=name, value=value)
