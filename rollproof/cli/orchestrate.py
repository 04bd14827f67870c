"""rollproof orchestrate: what the orchestrator's container of the Compose project runs. Set by docker-compose.yml."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rollproof.cli import options as o
from rollproof.cli.running import Interrupted, most_telling, out, run
from rollproof.core.errors import Permanent
from rollproof.docker_rehearsal import ON_ALL_ADDRESSES, programme_of
from rollproof.orchestrator.docker_control import DockerControlServer
from rollproof.orchestrator.docker_programme import Programme
from rollproof.orchestrator.docker_site import DockerSite
from rollproof.rehearsal import Rehearsal

EXAMPLES = """[bold]Examples[/]

docker compose up -d --wait

docker compose -f docker-compose.yml -f compose/memory.yml up -d --wait
"""


def command(
    template: o.Template = None,
    parameter: o.Parameter = None,
    env: o.Env = None,
    strategy: Annotated[
        str, typer.Option("--strategy", envvar="ROLLPROOF_STRATEGY", help="Of the sample server.")
    ] = "",
    set_: Annotated[
        str, typer.Option("--set", envvar="ROLLPROOF_SET", help="KNOB=VALUE, several separated by spaces.")
    ] = "",
    speed: Annotated[float, typer.Option("--speed", envvar="ROLLPROOF_SPEED")] = 10.0,
    seed: Annotated[int, typer.Option("--seed", envvar="ROLLPROOF_SEED")] = 1,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    runs: o.Runs = Path("runs"),
) -> None:
    """Set the docker stage, and keep it until SIGTERM. A stage whose orchestrator was killed is taken over."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = o.choose(
        template=template, parameter=parameter, env=env, strategy=strategy, sets=set_.split(), speed=speed,
        environment=ON_ALL_ADDRESSES,
    )  # fmt: skip
    rehearsal = Rehearsal(
        chosen.subject, chosen.template, timing=chosen.timing, speed=speed, seed=seed, strategy=strategy
    )
    base = programme_of(rehearsal, o.state_dir_of(state_dir), Path(os.path.abspath(runs)))
    try:
        run(_orchestrate(base, DockerSite.from_environment(os.environ)))
    except Interrupted:
        out.print("ended; no task is left")  # SIGTERM is how Compose ends it: no failure


async def _orchestrate(base: Programme, site: DockerSite) -> None:
    control = await DockerControlServer.open(base, site)
    asked = asyncio.create_task(control.shut_down.wait())
    try:
        async with control:
            stage = control.stage
            out.print(f"{'took over' if stage.adopted else 'set'} the stage of {site.project.name}: {stage.endpoint}")
            ends: set[asyncio.Future[Any]] = {asked, control.failed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await control.stage.close()
        raise
    finally:
        asked.cancel()
    if not control.failed.done():
        await control.stage.close()
        return
    error = most_telling(control.failed.exception() or RuntimeError("the orchestrator ended by itself"))
    if isinstance(error, Permanent):
        await control.stage.close()
    else:
        await control.stage.abandon()  # started again, it takes over
    raise error
