"""rollproof down: end the stage, whether its orchestrator still runs or was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import options as o
from rollproof.cli.running import out, run
from rollproof.cli.stage import StageName, StageOption, compose_stage
from rollproof.core.errors import Permanent, RollproofError
from rollproof.orchestrator.clearing import clear
from rollproof.orchestrator.control import ask
from rollproof.orchestrator.stage_files import StageLock, holder, is_held

EXAMPLES = """[bold]Examples[/]

rollproof down

rollproof down --stage docker     containers, network and volumes of the Compose project
"""
_PATIENCE_S = 30.0
_LOOK_S = 0.1


def command(
    stage: StageOption = StageName.LOCAL,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing if all is well.")] = False,
) -> None:
    """End the stage: tasks, load balancer, Redis. The runs stay."""
    found = run(
        _down_compose() if stage is StageName.DOCKER else _down(o.state_dir_of(state_dir)),
        on_stop="stopped; something may be left: run rollproof down again",
    )
    if not quiet:
        out.print("down; nothing is left running" if found else "nothing was up")


async def _down_compose() -> bool:
    stage = compose_stage()
    was_there = await stage.is_there()
    await stage.down()
    return was_there


async def _down(state_dir: Path) -> bool:
    """Whether there was anything to end."""
    try:
        await ask(state_dir, {"do": "shut-down"})
    except RollproofError:
        if not is_held(state_dir):
            return await _clear(state_dir)
        raise _still_there(state_dir, "does not answer") from None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while is_held(state_dir):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise _still_there(state_dir, f"did not end within {_PATIENCE_S:g} s") from None
    await _clear(state_dir)  # what it could not end, if anything
    return True


async def _clear(state_dir: Path) -> bool:
    """End what a killed orchestrator has left."""
    if not state_dir.exists():  # noqa: ASYNC240 - a stat
        return False
    with StageLock(state_dir):
        await clear(state_dir)
    return True


def _still_there(state_dir: Path, what: str) -> Permanent:
    pid = holder(state_dir)
    return Permanent(
        f"the orchestrator (pid {pid}) {what}", hint=f"end it with kill {pid}, then run rollproof down again"
    )
