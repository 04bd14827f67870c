"""rollproof rehearse: all of it, once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import client_flags as c
from rollproof.cli import options as o
from rollproof.cli.live import Live
from rollproof.cli.players import OF_THE_SERVICE, PLAYERS, Asked, check_flags, check_stage, play
from rollproof.cli.running import FAIL, PASS, UNKNOWN, err, out
from rollproof.cli.stage import PlayedOnOption, StageName
from rollproof.core.errors import UsageError
from rollproof.core.platforms import FARGATE
from rollproof.disruptions import Disruption
from rollproof.platforms import check_platform, probe_on_platform
from rollproof.probe import CookieMode, Era, Increments, ProbeOptions, SessionIds, flags
from rollproof.rehearsal import Rehearsal
from rollproof.report import render_terminal, summary_json
from rollproof.strategies import clients_of, fails_at_once
from rollproof.verdict.model import Outcome, Verdict

EXIT = {Outcome.PASS: PASS, Outcome.FAIL: FAIL, Outcome.UNKNOWN: UNKNOWN}

EXAMPLES = """[bold]Examples[/]

rollproof rehearse                                       the sample server, as its templates deploy it

rollproof rehearse --strategy memory                     the same with sessions in memory: watch them die

rollproof rehearse --app my_server:mcp                   your own FastMCP server

rollproof rehearse --command "node server.js" --template infra/ecs.yaml

rollproof rehearse --set deregistration_delay_s=30 --set sticky_overrides_drain=true

rollproof rehearse --disruption bad-image                does the circuit breaker save the sessions?

rollproof rehearse --platform lambda --strategy memory   instances frozen between calls, and new at each

rollproof rehearse --stage docker                        the same with containers and nginx

rollproof rehearse --stage sim --strategy memory         in one process, at AWS's pace, in seconds

Exit codes: 0 pass, 1 a session was lost, 2 usage, 3 nothing was proved.
"""

DisruptionOption = Annotated[
    Disruption, typer.Option(envvar="ROLLPROOF_DISRUPTION", help="What is done to the service.")
]
Name = Annotated[str, typer.Option(help="Of the run's directory.", rich_help_panel=o.STAGE)]
Timeout = Annotated[
    float, typer.Option(help="Real seconds to wait for a steady state. 0: from the timings.", rich_help_panel=o.STAGE)
]


def command(
    context: typer.Context,
    stage: PlayedOnOption = StageName.LOCAL,
    app: o.App = "",
    command_: o.Command = "",
    image: o.Image = "",
    template: o.Template = None,
    parameter: o.Parameter = None,
    env: o.Env = None,
    strategy: o.Strategy = "",
    platform: o.PlatformOption = FARGATE,
    disruption: DisruptionOption = Disruption.ROLLING,
    set_: o.Set = None,
    config: o.ConfigFile = None,
    speed: o.Speed = 10.0,
    seed: o.Seed = 1,
    sessions: c.Sessions = 20,
    delay: c.Delay = 1.0,
    era: c.EraOption = Era.LEGACY,
    cookies: c.Cookies = CookieMode.FULL,
    session_ids: c.Ids = SessionIds.AUTO,
    reinitialise: c.Reinitialise = False,
    retries: c.Retries = 0,
    replay: c.Replay = False,
    increments: c.IncrementsOption = Increments.KEYED,
    slow_every: c.SlowEvery = 5,
    slow_s: c.Slow = 3.0,
    activities: c.ActivitiesOption = "",
    streams: c.Streams = True,
    path: c.McpPath = "/mcp",
    port: o.Port = 0,
    balancer: o.Balancer = None,
    redis_url: o.RedisUrl = "",
    runs: o.Runs = Path("runs"),
    name: Name = "",
    timeout: Timeout = 0.0,
    as_json: o.Json = False,
    verbose: o.Verbose = False,
) -> None:
    """Rehearse a rollout once, and say whose session survived it."""
    o.check_port(port)
    if not timeout >= 0:
        raise UsageError(f"--timeout {timeout:g} is out of range", hint="0 or more seconds")
    player = PLAYERS[stage]
    check_flags(
        player,
        {
            "--app": app, "--command": command_, "--image": image, "--redis-url": redis_url,
            "--port": str(port or ""), "--balancer": balancer or "",
            "--speed": str(speed) if o.are_given(context, "speed") else "",
        },
    )  # fmt: skip
    if stage is StageName.SIM:
        speed = 1.0
    chosen = o.choose(
        app=app, command=command_, image=image, template=template, parameter=parameter, env=env, strategy=strategy,
        platform=platform, sets=set_, config_file=config, speed=speed, environment=player.environment,
    )  # fmt: skip
    probe = ProbeOptions(
        "http://localhost/mcp", sessions=sessions, delay_s=delay, era=era, cookies=cookies, session_ids=session_ids,
        reinitialise=reinitialise, retries=retries, replay=replay, increments=increments,
        slow_every=slow_every, slow_s=slow_s,
        open_streams=streams and era is not Era.MODERN, activities=flags.activities(activities),
    )  # fmt: skip
    configured = chosen.config.probe if chosen.config else {}
    probe_given = c.given(context) | configured.keys()
    probe = replace(clients_of(probe, strategy, probe_given), **configured)
    usual = probe_on_platform(player.usual(probe), platform)
    if not o.are_given(context, "sessions"):
        probe = replace(probe, sessions=usual.sessions)
    if not o.are_given(context, "delay") and "delay_s" not in configured:
        probe = replace(probe, delay_s=usual.delay_s)
    if not o.are_given(context, "streams"):
        probe = replace(probe, open_streams=usual.open_streams)
    probe.validate()
    rehearsal = Rehearsal(
        chosen.subject, chosen.template, timing=chosen.timing, disruption=disruption, probe=probe,
        mcp_path="/" + path.lstrip("/"), speed=speed, seed=seed, runs_dir=runs, port=port, redis_url=redis_url,
        name=name or f"{strategy or ('sample' if chosen.subject.is_sample else 'own')}-{disruption}",
        timeout_s=timeout, command=o.command_line(), strategy=strategy, balancer=balancer or player.balancer,
        probe_given=tuple(sorted(probe_given)), needs_warm_up=not fails_at_once(strategy),
        platform=platform,
    )  # fmt: skip
    check_platform(platform, rehearsal.settings, probe, disruption)
    check_stage(player, rehearsal)
    for note in chosen.subject.notes:
        err.print(f"[dim]note: {note}[/]", soft_wrap=True)
    is_as_it_is = chosen.config is None and not o.are_given(context, *OF_THE_SERVICE)
    with Live(err, speed) as live:
        asked = Asked(rehearsal, image, is_as_it_is, sets_project=bool(image or port or balancer))
        done = play(player, asked, live)
    show(done.verdict, done.run_dir, as_json=as_json, verbose=verbose)


def show(verdict: Verdict, run_dir: Path, *, as_json: bool, verbose: bool) -> None:
    """The report of a run, and its exit code."""
    if as_json:
        out.print_json(json.dumps(summary_json(verdict) | {"run_dir": str(run_dir)}, default=str))
    else:
        render_terminal(verdict, console=out, verbose=verbose)
        out.print(f"run: {run_dir}", soft_wrap=True)
    raise typer.Exit(EXIT[verdict.outcome])
