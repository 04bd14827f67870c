"""rollproof down: end the stage, whether its orchestrator still runs or was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import options as o
from rollproof.cli.running import out, run
from rollproof.core.errors import Permanent, RollproofError
from rollproof.orchestrator.control import ask
from rollproof.orchestrator.local_stage import clear
from rollproof.orchestrator.stage_files import StageLock, holder

EXAMPLES = """[bold]Examples[/]

rollproof down
"""
_PATIENCE_S = 30.0
_LOOK_S = 0.1


def command(
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing if all is well.")] = False,
) -> None:
    """End the stage: tasks, load balancer, Redis. The runs stay."""
    found = run(_down(o.state_dir_of(state_dir)))
    if not quiet:
        out.print("down; nothing is left running" if found else "nothing was up")


async def _down(state_dir: Path) -> bool:
    """Whether there was anything to end."""
    try:
        await ask(state_dir, {"do": "shut-down"})
    except RollproofError:
        with StageLock(state_dir):
            found = state_dir.exists()  # noqa: ASYNC240 - a stat
            await clear(state_dir)
            return found
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while state_dir.exists():  # noqa: ASYNC240 - a stat
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise Permanent(
            f"the orchestrator (pid {holder(state_dir)}) did not end within {_PATIENCE_S:g} s",
            hint="end it with kill, then run rollproof down again",
        ) from None
    return True
