"""rollproof up: a stage that stays up, to be driven with deploy, status, probe, stop-task."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from rollproof.cli import options as o
from rollproof.cli.live import Live
from rollproof.cli.players import OF_THE_SERVICE, PLAYERS, check_flags, check_stage
from rollproof.cli.running import err, out, run
from rollproof.cli.stage import StageName, StageOption, compose_stage
from rollproof.core.platforms import FARGATE
from rollproof.docker_rehearsal import order_of, write_order
from rollproof.orchestrator.compose_stage import ComposeStage
from rollproof.orchestrator.control import ControlServer
from rollproof.orchestrator.local_stage import LocalStage, open_stage
from rollproof.orchestrator.stage_files import read_plan
from rollproof.rehearsal import Rehearsal, record_settings, run_directory, stage_plan

EXAMPLES = """[bold]Examples[/]

rollproof up                                  the sample server behind http://127.0.0.1:8080

rollproof up --app my_server:mcp --port 9000

In another terminal: rollproof status --watch, rollproof deploy --force-new-deployment,
rollproof probe --endpoint http://127.0.0.1:8080/mcp

rollproof up --stage docker                   the Compose project, in the background

Ctrl-C, or rollproof down, ends it. If it was killed, the next rollproof up takes over what still runs.
"""
_MAY_BE_UP = "stopped; what has been started stays: rollproof down --stage docker"


def command(
    context: typer.Context,
    stage: StageOption = StageName.LOCAL,
    app: o.App = "",
    command_: o.Command = "",
    image: o.Image = "",
    template: o.Template = None,
    parameter: o.Parameter = None,
    env: o.Env = None,
    strategy: o.Strategy = "",
    platform: o.PlatformOption = FARGATE,
    set_: o.Set = None,
    config: o.ConfigFile = None,
    speed: o.Speed = 10.0,
    seed: o.Seed = 1,
    port: o.Port = 8080,
    balancer: o.Balancer = None,
    redis_url: o.RedisUrl = "",
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    runs: o.Runs = Path("runs"),
) -> None:
    """Set the stage and keep it up: load balancer, Redis and tasks, until Ctrl-C."""
    directory = o.state_dir_of(state_dir)
    o.check_port(port)
    player = PLAYERS[stage]
    check_flags(player, {"--app": app, "--command": command_, "--image": image, "--redis-url": redis_url})
    if stage is StageName.LOCAL and read_plan(directory) is not None:
        err.print(f"taking over the stage in {directory}; its own settings hold", soft_wrap=True)
    chosen = o.choose(
        app=app, command=command_, image=image, template=template, parameter=parameter, env=env, strategy=strategy,
        platform=platform, sets=set_, config_file=config, speed=speed, environment=player.environment,
    )  # fmt: skip
    rehearsal = Rehearsal(
        chosen.subject, chosen.template, timing=chosen.timing, speed=speed, seed=seed, runs_dir=runs, port=port,
        redis_url=redis_url, balancer=balancer or player.balancer, command=o.command_line(), strategy=strategy,
        platform=platform,
    )  # fmt: skip
    check_stage(player, rehearsal)
    with Live(err, speed) as live:
        if stage is StageName.DOCKER:
            is_as_it_is = chosen.config is None and not o.are_given(context, *OF_THE_SERVICE)
            compose = compose_stage(
                port=port if o.are_given(context, "port") else 0, image=image, balancer=rehearsal.balancer
            )
            endpoint = run(_compose_up(compose, rehearsal, image, live, is_as_it_is=is_as_it_is), on_stop=_MAY_BE_UP)
            out.print(f"load balancer: {endpoint}    MCP: {endpoint}/mcp    ends with: rollproof down --stage docker",
                      soft_wrap=True)  # fmt: skip
            return
        run(_stay_up(rehearsal, directory, live))


async def _compose_up(compose: ComposeStage, rehearsal: Rehearsal, image: str, live: Live, *, is_as_it_is: bool) -> str:
    """The project, set with what was asked for; where its load balancer is published."""
    if image:
        await compose.check_image(image)
    await compose.up(live.say)
    if not is_as_it_is:
        live.say("setting the stage with what was asked for")
        await compose.set_stage(write_order(order_of(rehearsal, is_as_it_is=False)))
    return f"http://{await compose.published_address()}"


async def _stay_up(rehearsal: Rehearsal, state_dir: Path, live: Live) -> None:
    with run_directory(rehearsal.runs_dir, "up") as run_dir:
        plan = stage_plan(rehearsal, state_dir, run_dir)
        async with open_stage(plan, live.listen) as stage, ControlServer(stage) as control:
            if not stage.adopted:
                record_settings(stage, rehearsal)
            out.print(f"load balancer: {stage.endpoint}    MCP: {stage.endpoint}/mcp    run: {stage.plan.run_dir}",
                      soft_wrap=True)  # fmt: skip
            if rehearsal.strategy:
                command = f"rollproof probe --endpoint {stage.endpoint}/mcp --strategy {rehearsal.strategy}"
                out.print(f"its clients:   {command}", soft_wrap=True)
            await _until_end(stage, control)


async def _until_end(stage: LocalStage, control: ControlServer) -> None:
    asked = asyncio.create_task(control.shut_down.wait())
    try:
        await asyncio.wait({asked, stage.running}, return_when=asyncio.FIRST_COMPLETED)
        if stage.running.done():
            stage.running.result()
    finally:
        asked.cancel()
