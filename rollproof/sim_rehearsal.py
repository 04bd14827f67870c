"""A rehearsal on the in-process stage: the same play in virtual time, at AWS's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
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
    stop: Stop | None = None,
) -> Rehearsed:
    """Play it to the end, and return when its verdict is drawn. `app`: in place of what the subject names.

    Not a coroutine: it has an event loop of its own. `stop` ends it early, from another thread. Raises as
    `rehearsal.rehearse`, and UsageError for a subject that is no application of Python.
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
            task = loop.create_task(run(), name="rehearsal")
            if stop is not None:
                stop.holds(loop, task)
            loop.run_until_complete(task)
    return Rehearsed(write_reports(run_dir, read_history(run_dir / "history.jsonl")), run_dir)


class Stop:
    """Ends a rehearsal that runs in another thread."""

    def __init__(self) -> None:
        self._cancel: Callable[[], object] | None = None
        self._is_asked = False

    def holds(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._is_asked:
            task.cancel()

    def ask(self) -> None:
        self._is_asked = True
        if self._cancel is not None:
            with suppress(RuntimeError):  # it has just ended
                self._cancel()


async def rehearse_in_thread(rehearsal: Rehearsal, *, listener: Callable[[Record], None] | None = None) -> Rehearsed:
    """The same for a caller with an event loop, which must have no timers of its own meanwhile: clocks are virtual.

    When cancelled, it returns once the rehearsal has been ended. Raises as `rehearse_in_process`.
    """
    stop = Stop()
    work = asyncio.get_running_loop().run_in_executor(
        None, lambda: rehearse_in_process(rehearsal, listener=listener, stop=stop)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.ask()
        await asyncio.wait({work})
        raise


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
