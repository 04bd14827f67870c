"""`python -m rollproof.cli.docker_client`: the command line in the project's containers.

All commands as everywhere, on the stage that Compose has set; `rehearse` plays on that stage. Flags that set
something of the service set the stage anew; without one it is rehearsed as it is. In the orchestrator's container
there is `orchestrate`, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import main
from rollproof.cli import options as o
from rollproof.cli.live import Live
from rollproof.cli.rehearse import PROBE, show
from rollproof.cli.running import err, run
from rollproof.docker_rehearsal import ON_ALL_ADDRESSES, DockerRehearsal, make_programme, rehearse_on_docker
from rollproof.orchestrator.docker_programme import Programme
from rollproof.probe import CookieMode, Era, Increments, ProbeOptions, SessionIds
from rollproof.rehearsal import Disruption

EXAMPLES = """[bold]Examples[/]

docker compose run --rm client rehearse

docker compose run --rm client rehearse --strategy memory

docker compose run --rm client rehearse --disruption bad-image

Exit codes: 0 pass, 1 a session was lost, 2 usage, 3 nothing was proved.
"""
_DONE = "stopped; the stage stays up: docker compose down ends it"


def command(
    template: o.Template = None,
    parameter: o.Parameter = None,
    env: o.Env = None,
    strategy: o.Strategy = "",
    set_: o.Set = None,
    speed: Annotated[float, typer.Option("--speed", help="0: the stage's own.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of everything drawn by chance. -1: the stage's own.")] = -1,
    disruption: Annotated[Disruption, typer.Option(help="What is done to the service.")] = Disruption.ROLLING,
    sessions: Annotated[int, typer.Option(help="Clients at once.", rich_help_panel=PROBE)] = 20,
    delay: Annotated[float, typer.Option(help="Seconds between two calls.", rich_help_panel=PROBE)] = 1.0,
    era: Annotated[Era, typer.Option(help="Protocol the clients speak.", rich_help_panel=PROBE)] = Era.LEGACY,
    cookies: Annotated[CookieMode, typer.Option(help="Set-Cookie?", rich_help_panel=PROBE)] = CookieMode.FULL,
    session_ids: Annotated[SessionIds, typer.Option(rich_help_panel=PROBE)] = SessionIds.AUTO,
    reinitialise: Annotated[bool, typer.Option(help="Begin anew on 404.", rich_help_panel=PROBE)] = False,
    retries: Annotated[int, typer.Option(help="Of a failed operation.", rich_help_panel=PROBE)] = 0,
    increments: Annotated[Increments, typer.Option(help="Also count.", rich_help_panel=PROBE)] = Increments.KEYED,
    slow_every: Annotated[int, typer.Option(help="0: none.", rich_help_panel=PROBE)] = 5,
    slow_s: Annotated[float, typer.Option("--slow", help="Seconds.", rich_help_panel=PROBE)] = 3.0,
    streams: Annotated[bool, typer.Option(help="GET streams.", rich_help_panel=PROBE)] = True,
    path: Annotated[str, typer.Option(help="Of the MCP endpoint.", rich_help_panel=PROBE)] = "/mcp",
    name: Annotated[str, typer.Option(help="Of the run's directory.", rich_help_panel=o.STAGE)] = "",
    timeout: Annotated[float, typer.Option(help="0: from the timings.", rich_help_panel=o.STAGE)] = 0.0,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    as_json: o.Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every session, every check.")] = False,
) -> None:
    """Rehearse a rollout on the stage that Compose has set, and say whose session survived it."""
    directory = o.state_dir_of(state_dir)
    programme: Programme | None = None
    if template or parameter or env or strategy or set_ or speed or seed >= 0:
        speed, seed = speed or 10.0, max(seed, 1)
        environment = [*(f"{name}={value}" for name, value in ON_ALL_ADDRESSES.items()), *(env or [])]
        chosen = o.choose(
            template=template, parameter=parameter, env=environment, strategy=strategy, sets=set_, speed=speed
        )
        programme = make_programme(
            chosen.subject, chosen.template, chosen.timing, speed=speed, seed=seed, strategy=strategy,
            state_dir=directory, runs_dir=Path(os.path.abspath("runs")),
        )  # fmt: skip
    probe = ProbeOptions(
        "http://localhost/mcp", sessions=sessions, delay_s=delay, era=era, cookies=cookies, session_ids=session_ids,
        reinitialise=reinitialise, retries=retries, increments=increments, slow_every=slow_every, slow_s=slow_s,
        open_streams=streams and era is not Era.MODERN,
    )  # fmt: skip
    probe.validate()
    asked = DockerRehearsal(
        directory, programme, disruption, probe, "/" + path.lstrip("/"), name or f"{strategy or 'sample'}-{disruption}",
        timeout, o.command_line(),
    )  # fmt: skip
    with Live(err, speed or 10.0) as live:
        done = run(rehearse_on_docker(asked, listener=live.listen, on_probe=live.watch), on_stop=_DONE)
    show(done.verdict, done.run_dir, as_json=as_json, verbose=verbose)


def add_docker_commands() -> None:
    """`rehearse` on the docker stage; `orchestrate` where the Docker SDK is installed."""
    commands = main.app.registered_commands
    commands[:] = [known for known in commands if known.name != "rehearse"]
    main.app.command("rehearse", epilog=EXAMPLES)(command)
    if importlib.util.find_spec("docker") is not None:
        orchestrate = importlib.import_module("rollproof.cli.orchestrate")
        main.app.command("orchestrate", epilog=orchestrate.EXAMPLES)(orchestrate.command)


if __name__ == "__main__":
    add_docker_commands()
    main.main()
