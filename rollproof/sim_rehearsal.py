"""A rehearsal on the in-process stage: the same play in virtual time, at AWS's own pace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rollproof.core.errors import UsageError
from rollproof.disruptions import BadCommands, Disruption, check_possible
from rollproof.history import Record, read_history
from rollproof.platforms import check_platform
from rollproof.rehearsal import Rehearsal, Rehearsed, play, record_settings, run_directory, stage_plan
from rollproof.report import write_reports
from rollproof.sim.modules import App, Applications, modules_restored
from rollproof.sim.process import Programme
from rollproof.sim.programmes import CRASHES_AT_START, NEVER_LISTENS, application
from rollproof.sim.stage import SimStage, open_sim_stage
from rollproof.sim.virtual import virtual

IN_PROCESS: BadCommands = {Disruption.BAD_IMAGE: NEVER_LISTENS, Disruption.CRASHING_IMAGE: CRASHES_AT_START}


def rehearse_in_process(
    rehearsal: Rehearsal,
    *,
    app: App | None = None,
    listener: Callable[[Record], None] | None = None,
) -> Rehearsed:
    """Play it to the end, and return when its verdict is drawn. `app`: in place of what the subject names.

    Not a coroutine: it has an event loop of its own. Raises as `rehearsal.rehearse`, and UsageError for a subject that
    is no application of Python.
    """
    rehearsal = replace(rehearsal, speed=1.0, bad_commands=IN_PROCESS)
    check_possible(
        rehearsal.disruption,
        desired_count=rehearsal.settings.service.desired_count,
        has_redis=rehearsal.subject.needs_redis,
    )
    check_platform(rehearsal.platform, rehearsal.settings, rehearsal.probe, rehearsal.disruption)
    programmes = programmes_of(rehearsal, app)
    with run_directory(rehearsal.runs_dir, rehearsal.name) as run_dir:
        plan = stage_plan(rehearsal, run_dir, run_dir)

        async def run() -> None:
            async with open_sim_stage(loop, plan, programmes, listener) as stage:
                record_settings(stage, rehearsal, stage_name="sim")
                await play(stage, rehearsal)

        with modules_restored(), virtual(rehearsal.seed) as loop:
            loop.run_until_complete(run())
    return Rehearsed(write_reports(run_dir, read_history(run_dir / "history.jsonl")), run_dir)


def programmes_of(rehearsal: Rehearsal, app: App | None) -> Mapping[str, Programme]:
    """What a task of each image runs. Raises UsageError for a program of another kind."""
    found = {}
    for image, spec in rehearsal.subject.images.items():
        named = app or spec.app
        if not named:
            raise UsageError(
                "the in-process stage runs applications of Python, not other programs",
                hint="--app module:attribute; for --command and --image: --stage local or docker",
            )
        found[image] = application(Applications(named, spec.working_directory))
    return found


__all__ = ["IN_PROCESS", "SimStage", "rehearse_in_process"]
