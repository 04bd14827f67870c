"""A rehearsal on the docker stage: the same play (rehearsal.py), on the stage that Compose has set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from rollproof import rehearsal as play
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.history import Record, read_history
from rollproof.orchestrator.docker_programme import Programme
from rollproof.orchestrator.docker_remote import RemoteStage, open_run
from rollproof.orchestrator.local_stage import LocalStage
from rollproof.orchestrator.stage_files import StagePlan
from rollproof.probe import Probe, ProbeOptions
from rollproof.report import write_reports
from rollproof.subject import Subject

ON_ALL_ADDRESSES = {"HOST": "0.0.0.0"}  # noqa: S104 - a container's own network
"""What a task's environment needs where it has an address of its own; the template's own value, too."""


@dataclass(frozen=True)
class DockerRehearsal:
    """What to play. Without a `programme`: on the stage as it is."""

    state_dir: Path
    programme: Programme | None = None
    disruption: play.Disruption = play.Disruption.ROLLING
    probe: ProbeOptions = play.PROBE
    mcp_path: str = "/mcp"
    name: str = "rehearsal"
    timeout_s: float = 0.0
    command: str = "rollproof rehearse --stage docker"


def make_programme(
    subject: Subject,
    template: Settings,
    timing: Timing,
    *,
    speed: float,
    seed: int,
    strategy: str,
    state_dir: Path,
    runs_dir: Path,
) -> Programme:
    """What the orchestrator sets a stage with."""
    plan = StagePlan(
        state_dir=state_dir,
        run_dir=runs_dir,
        settings=subject.settings,
        timing=timing,
        images=subject.images,
        speed=speed,
        seed=seed,
        needs_redis=subject.needs_redis,
    )
    return Programme(plan, template, strategy)


async def rehearse_on_docker(
    asked: DockerRehearsal,
    *,
    listener: Callable[[Record], None] | None = None,
    on_probe: Callable[[Probe], None] | None = None,
) -> play.Rehearsed:
    """Play it to the end; the stage stays up. Raises as `rehearse` does."""
    async with open_run(asked.state_dir, asked.name, asked.programme, listener) as remote:
        run_dir, rehearsal = remote.plan.run_dir, _as_local(asked, remote)
        stage = cast(LocalStage, remote)  # has all that the play uses of one
        play.record_settings(stage, rehearsal)
        remote.history.record("setting", name="stage", value="docker")
        await play._play(stage, rehearsal, on_probe)
    return play.Rehearsed(write_reports(run_dir, read_history(run_dir / "history.jsonl")), run_dir)


def _as_local(asked: DockerRehearsal, remote: RemoteStage) -> play.Rehearsal:
    """The rehearsal with the settings that the stage was set with."""
    plan, programme = remote.plan, remote.programme
    return play.Rehearsal(
        Subject(plan.settings, plan.images, plan.needs_redis, is_sample=True),
        programme.template,
        timing=plan.timing,
        disruption=asked.disruption,
        probe=replace(asked.probe),
        mcp_path=asked.mcp_path,
        speed=plan.speed,
        seed=plan.seed,
        name=asked.name,
        timeout_s=asked.timeout_s,
        command=asked.command,
        strategy=programme.strategy,
    )
