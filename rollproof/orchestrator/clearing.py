"""Ending what a stage has started, by what its directory holds: also where its orchestrator was killed.

Everything that can be ended is, whatever else cannot; only then is it said what is left, and the directory stays,
so that a second attempt finds it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rollproof.core.errors import Permanent, RollproofError
from rollproof.orchestrator.redis_server import attach
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.stage_balancer import stop_balancer
from rollproof.orchestrator.stage_files import PLAN_FILE, StageLock, is_held, redis_dir, runtime_dir

REHEARSAL_PREFIX = "rollproof-"
"""Of the temporary directory of a stage that lives for one rehearsal."""

_SIGTERM_PATIENCE_S = 3.0
_BALANCER_GRACE_S = 0.5
_LOOK_S = 0.05


async def clear(state_dir: Path) -> None:
    """End whatever a stage in `state_dir` has left, and remove the directory. Idempotent.

    Raises Permanent, naming what could not be ended.
    """
    failures: list[str] = []
    if runtime_dir(state_dir).is_dir():
        failures += await _end_tasks(ProcessRuntime(runtime_dir(state_dir), {}))
    try:
        await stop_balancer(state_dir, grace_s=_BALANCER_GRACE_S)
    except RollproofError as error:
        failures.append(error.message)
    redis = await attach(redis_dir(state_dir))
    if redis is not None:
        await redis.stop()
    if failures:
        raise Permanent("; ".join(failures), hint=f"rollproof down --state-dir {state_dir} tries again")
    shutil.rmtree(state_dir, ignore_errors=True)


async def _end_tasks(runtime: ProcessRuntime) -> list[str]:
    """SIGTERM to all, a moment to end by themselves, then remove what is left. Returns what went wrong."""
    for task in await runtime.describe():
        await runtime.signal(task.task_id, "SIGTERM")
    with suppress(TimeoutError):
        async with asyncio.timeout(_SIGTERM_PATIENCE_S):
            while any(task.exit_code is None for task in await runtime.describe()):
                await asyncio.sleep(_LOOK_S)
    removed = await asyncio.gather(
        *(runtime.remove(task.task_id) for task in await runtime.describe()), return_exceptions=True
    )
    return [str(error) for error in removed if isinstance(error, BaseException)]


async def clear_abandoned(directory: Path) -> list[Path]:
    """End the stages of this user's rehearsals in `directory` whose process was killed. Returns where they were.

    A stage that is being set right now is safe: it holds its lock before it writes its plan.
    """
    cleared = []
    for state_dir in _rehearsal_stages(directory):
        if is_held(state_dir):
            continue
        with suppress(RollproofError):
            with StageLock(state_dir):
                await clear(state_dir)
            shutil.rmtree(state_dir.parent, ignore_errors=True)
            cleared.append(state_dir)
    return cleared


def _rehearsal_stages(directory: Path) -> Iterator[Path]:
    for parent in directory.glob(f"{REHEARSAL_PREFIX}*"):
        with suppress(OSError):
            if parent.stat().st_uid == os.getuid():
                yield from (plan.parent for plan in parent.glob(f"*/{PLAN_FILE}"))
