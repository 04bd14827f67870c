"""rollproof whatif: every combination of some knobs, simulated with modelled sessions."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.status import Status
from rich.table import Table

from rollproof.cli import options as o
from rollproof.cli.running import err, out, wide_out
from rollproof.cli.whatif_sweep import Case, Row, Span, cases, check_size, moves, play, varied
from rollproof.core.errors import UsageError
from rollproof.core.platforms import FARGATE
from rollproof.sim.heap import COMES_UP, Clients, SessionsIn

EXAMPLES = """[bold]Examples[/]

rollproof whatif --vary deregistration_delay_s=0,30,60,300 --vary desired_count=1,2,10

rollproof whatif --template infra/ecs.yaml --vary stickiness_enabled=true,false --vary sessions_in=memory,redis

rollproof whatif --vary sticky_overrides_drain=true,false --seeds 20 --csv > whatif.csv

rollproof whatif --set desired_count=10000 --sessions 1000000        the largest there is

Times are seconds from the deployment, first to last. No server runs: `rollproof rehearse` plays it with yours.
"""
MODELLED = "What is modelled"

Vary = Annotated[
    list[str] | None,
    typer.Option(
        "--vary",
        metavar="KNOB=A,B,C",
        help="Any knob that --set takes, or sessions_in, sessions, call_interval_s. Repeatable.",
        rich_help_panel=o.KNOBS,
    ),
]
SessionsInOption = Annotated[
    SessionsIn,
    typer.Option(
        "--sessions-in",
        help="Where sessions live: a task's memory, redis (any task serves them), or client (in memory, but clients "
        "begin anew and repeat what they had done).",
        rich_help_panel=MODELLED,
    ),
]
Sessions = Annotated[int, typer.Option("--sessions", help="Up to 1,000,000.", rich_help_panel=MODELLED)]
Interval = Annotated[
    float, typer.Option("--interval", help="Seconds from one call of a session to its next.", rich_help_panel=MODELLED)
]
Seeds = Annotated[
    int, typer.Option("--seeds", help="Rollouts a combination, each drawn anew.", rich_help_panel=MODELLED)
]
Csv = Annotated[bool, typer.Option("--csv", help="The same facts as CSV, on standard output.")]

_TOLD_EVERY_S = 10.0
_QUIET_S = 2.0


def command(
    vary: Vary = None,
    template: o.Template = None,
    parameter: o.Parameter = None,
    set_: o.Set = None,
    config: o.ConfigFile = None,
    platform: o.PlatformOption = FARGATE,
    sessions_in: SessionsInOption = SessionsIn.MEMORY,
    sessions: Sessions = 100,
    interval: Interval = 2.0,
    seed: o.Seed = 1,
    seeds: Seeds = 1,
    as_json: o.Json = False,
    as_csv: Csv = False,
) -> None:
    """Simulate a rollout for every combination of some knobs: what is lost, and when what happens."""
    if seeds < 1:
        raise UsageError(f"--seeds {seeds} is out of range", hint="1 or more")
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", hint="give one of them")
    chosen = o.choose(template=template, parameter=parameter, sets=set_, config_file=config, platform=platform)
    clients = Clients(sessions, interval, sessions_in)
    names = varied(vary or ())
    if not names:
        check_size(chosen.subject.settings, clients)
    planned = cases(chosen.subject.settings, chosen.timing, clients, names)
    rows, took_s = _play(planned, range(seed, seed + seeds))
    if as_json:
        out.print_json(json.dumps([row.facts() for row in rows]))
    elif as_csv:
        _write_csv(rows)
    else:
        wide_out().print(_table(list(names), rows))
        count = len(rows) * seeds
        out.print(
            f"{count} rollout{'s' * (count > 1)} in {took_s:.1f} s, seed {seed}{_to(seed, seeds)}", soft_wrap=True
        )


def _to(seed: int, seeds: int) -> str:
    return f" to {seed + seeds - 1}" if seeds > 1 else ""


def _play(planned: Sequence[Case], seeds: range) -> tuple[list[Row], float]:
    """All rows. On standard error it says where it is, once it has lasted two seconds: all the time on a terminal,
    every ten seconds elsewhere."""
    began, total = time.monotonic(), len(planned) * len(seeds)
    told_at = began - _TOLD_EVERY_S + _QUIET_S
    with_status = Status("", console=err)

    def follow(which: int, at_s: float) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at < (0.2 if err.is_terminal and now - began > _QUIET_S else _TOLD_EVERY_S):
            return
        told_at = now
        text = progress_text(planned[which // len(seeds)], which, total, at_s=at_s, took_s=now - began)
        if err.is_terminal:
            with_status.update(text)
            with_status.start()
        else:
            err.print(text, soft_wrap=True)

    try:
        return list(play(planned, seeds, follow)), time.monotonic() - began
    finally:
        with_status.stop()


def progress_text(case: Case, which: int, total: int, *, at_s: float, took_s: float) -> str:
    size = f"{case.settings.service.desired_count} tasks, {case.clients.count} sessions"
    where = "before its deployment" if at_s == COMES_UP else f"{at_s:.0f} s after its deployment"
    return f"rollout {which + 1} of {total}: {size}, {where} ({took_s:.0f} s so far)"


def _table(names: list[str], rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right")
    for name in ("lost", "degraded", "failed calls", "sessions move", "SIGTERM", "takes"):
        table.add_column(name, justify="right")
    table.add_column("ended")
    for row in rows:
        lost = row.span("lost")
        table.add_row(
            *(row.case.varied[name] for name in names),
            f"[red]{_number(lost)}[/]" if lost[1] else "[green]0[/]",
            _number(row.span("degraded")),
            _number(row.span("failed_calls")),
            _seconds(row.between(moves)),
            _seconds(row.between(lambda x: x.moments.sigterm)),
            _seconds(row.span("duration_s")),
            row.ended,
        )
    return table


def _number(span: Span) -> str:
    low, high = span
    return f"{low:.0f}" if low == high else f"{low:.0f}..{high:.0f}"


def _seconds(span: Span | None) -> str:
    """`105..109 s`; `-` where it never came to that."""
    return "-" if span is None else f"{_number((round(span[0]), round(span[1])))} s"


def _write_csv(rows: Sequence[Row]) -> None:
    facts = [row.facts() for row in rows]
    writer = csv.DictWriter(sys.stdout, list(facts[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(facts)
