"""rollproof matrix: strategies x disruptions, a rehearsal a cell."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import client_flags as c
from rollproof.cli import options as o
from rollproof.cli.matrix_cells import CellPlayer, with_what_is_not_modelled
from rollproof.cli.matrix_progress import MatrixProgress
from rollproof.cli.players import PLAYERS
from rollproof.cli.running import err, out, run, wide_out
from rollproof.cli.stage import PlayedOnOption, StageName
from rollproof.core.errors import UsageError
from rollproof.core.platforms import FARGATE
from rollproof.matrix import Asked, Matrix, load_matrix, plan_matrix, play_matrix
from rollproof.matrix.markdown import matrix_markdown
from rollproof.matrix.model import matrix_json, read_matrix
from rollproof.matrix.terminal import render_matrix
from rollproof.probe import flags

EXAMPLES = """[bold]Examples[/]

rollproof matrix                                                 every strategy, every disruption, on local

rollproof matrix --strategies memory,stateless --disruptions rolling,crash,redis-restart

rollproof matrix --stage docker --strategies stateless --disruptions rolling

rollproof matrix --resume runs/20260101T120000-matrix            what is missing there

rollproof matrix --render runs/20260101T120000-matrix --markdown

Exit codes: 0 rolling deployments ended as expected of their strategies, 1 one did not, 2 usage, 3 a cell proved
nothing.
"""
PLAYED = "What is played"

Strategies = Annotated[
    str, typer.Option("--strategies", metavar="A,B", help="Default: all there are.", rich_help_panel=PLAYED)
]
Disruptions = Annotated[
    str,
    typer.Option(
        "--disruptions",
        metavar="A,B",
        help="Default: rolling,crash,stop-task,scale-in,bad-image,redis-restart.",
        rich_help_panel=PLAYED,
    ),
]
Measure = Annotated[
    float,
    typer.Option(
        "--measure", help="Real seconds of calls in which costs are measured, once a strategy.", rich_help_panel=PLAYED
    ),
]
Resume = Annotated[
    Path | None, typer.Option("--resume", metavar="DIR", help="Go on with a matrix.", rich_help_panel=PLAYED)
]
Render = Annotated[
    Path | None, typer.Option("--render", metavar="DIR", help="Show a matrix, play nothing.", rich_help_panel=PLAYED)
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Tables for a document.")]

SIM_DELAY_S = 3.0
"""Between two calls of a session in virtual time: a rollout has its full length there."""


def command(
    context: typer.Context,
    strategies: Strategies = "",
    disruptions: Disruptions = "",
    resume: Resume = None,
    render: Render = None,
    measure: Measure = 10.0,
    stage: PlayedOnOption = StageName.LOCAL,
    platform: o.PlatformOption = FARGATE,
    set_: o.Set = None,
    speed: o.Speed = 20.0,
    seed: o.Seed = 1,
    sessions: c.Sessions = 10,
    delay: c.Delay = 0.5,
    slow_s: c.Slow = 1.0,
    activities: c.ActivitiesOption = "all",
    balancer: o.Balancer = None,
    runs: o.Runs = Path("runs"),
    markdown: Markdown = False,
    as_json: o.Json = False,
) -> None:
    """Rehearse every session strategy through every disruption: one table, first failing calls, what each costs."""
    if render is not None:
        _show(read_matrix(render), render, markdown=markdown, as_json=as_json)
    if resume is not None:
        _check_resumed(context)
        matrix, directory = load_matrix(resume), resume
    else:
        if measure < 0:
            raise UsageError(f"--measure {measure:g} is out of range", hint="0 or more seconds; 0: no costs")
        if stage is StageName.SIM:
            _check_virtual(context)
            speed, measure = 1.0, 0.0  # at AWS's pace, for which nothing is waited; and CPU means nothing there
            delay = delay if o.are_given(context, "delay") else SIM_DELAY_S
        asked = Asked(
            stage.value, sessions=sessions, delay_s=delay, slow_s=slow_s, speed=speed, seed=seed,
            settings=tuple(set_ or ()), measure_s=measure, balancer=(balancer or PLAYERS[stage].balancer).value,
            platform=platform, activities=flags.activities(activities),
        )  # fmt: skip
        matrix = plan_matrix(asked, _names(strategies), _names(disruptions), o.command_line())
        matrix = with_what_is_not_modelled(matrix)
        directory = runs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-matrix"
    with MatrixProgress(err) as progress:
        matrix = _play(matrix, directory, progress)
    _show(matrix, directory, markdown=markdown, as_json=as_json)


def _play(matrix: Matrix, directory: Path, progress: MatrixProgress) -> Matrix:
    cells = CellPlayer(matrix, directory, progress)
    cells.check()

    async def played() -> Matrix:
        async with cells.kept_up():
            return await play_matrix(matrix, directory, cells.play, progress.follow)

    kept = f"{cells.on_stop}; what was played is kept: rollproof matrix --resume {directory}"
    return run(played(), on_stop=kept) if matrix.missing() else matrix


def _check_virtual(context: typer.Context) -> None:
    if o.are_given(context, "speed", "measure"):
        raise UsageError(
            "--speed and --measure: virtual time costs nothing, and the in-process stage measures no CPU",
            hint="leave them out, or --stage local",
        )


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _check_resumed(context: typer.Context) -> None:
    """A matrix goes on as it began."""
    others = ("strategies", "disruptions", "stage", "set_", "speed", "seed", "sessions", "delay", "slow_s", "measure",
              "balancer", "platform", "activities", "runs")  # fmt: skip
    if o.are_given(context, *others):
        raise UsageError("--resume goes on as the matrix began", hint="leave out what says how to play it")


def _show(matrix: Matrix, directory: Path, *, markdown: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(matrix_json(matrix), nl=False)
    elif markdown:
        typer.echo(matrix_markdown(matrix), nl=False)
    else:
        render_matrix(matrix, console=wide_out(), where=str(directory))
        out.print(f"matrix: {directory}", soft_wrap=True)
    raise typer.Exit(matrix.exit_code)
