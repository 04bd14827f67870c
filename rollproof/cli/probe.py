"""rollproof probe: MCP sessions against any endpoint, every answer written down. Its summary is JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import client_flags as c
from rollproof.cli import options as o
from rollproof.cli.running import FAIL, Interrupted, err, out
from rollproof.probe import CookieMode, Era, Increments, ProbeOptions, Progress, SessionIds, flags, run_probe
from rollproof.strategies import clients_of

EXAMPLES = """[bold]Examples[/]

rollproof probe --endpoint http://127.0.0.1:8080/mcp --calls 70 --delay 2

rollproof probe --endpoint http://127.0.0.1:8080/mcp --sessions 50 --delay 0.5 --cookies none

rollproof probe --endpoint https://mcp.example.com/mcp --tool search --arguments '{"q": "x"}'

rollproof probe --endpoint http://127.0.0.1:8080/mcp --strategy stateless      as that strategy's clients do

Exit codes: 0 every session complete, 1 not, 3 the endpoint did not answer.
"""


def command(
    context: typer.Context,
    endpoint: Annotated[str, typer.Option(help="The MCP endpoint's URL.")],
    calls: Annotated[int, typer.Option(min=0, help="Operations a session; 0: until Ctrl-C.")] = 70,
    delay: c.Delay = 2.0,
    sessions: c.Sessions = 1,
    era: c.EraOption = Era.LEGACY,
    cookies: c.Cookies = CookieMode.FULL,
    session_ids: c.Ids = SessionIds.AUTO,
    reinitialise: c.Reinitialise = False,
    retries: c.Retries = 0,
    replay: c.Replay = False,
    increments: c.IncrementsOption = Increments.NONE,
    slow_every: c.SlowEvery = 0,
    slow_s: c.Slow = 10.0,
    activities: c.ActivitiesOption = "",
    streams: c.Streams = False,
    tool: Annotated[str, typer.Option(help="Call this tool instead of the sample's.")] = "",
    arguments: Annotated[str, typer.Option(help="Its arguments, as JSON.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="'Name: value', sent with each request.")] = None,
    record_state: Annotated[bool, typer.Option(help="The whole state on each read's record.")] = False,
    history: Annotated[Path | None, typer.Option(help="Where the records go.")] = None,
    strategy: c.ClientsOf = "",
    seed: o.Seed = 0,
) -> None:
    """Call an MCP server with real sessions, and record every answer."""
    chosen = ProbeOptions(
        endpoint, sessions=sessions, calls=calls, delay_s=delay, era=era, cookies=cookies, session_ids=session_ids,
        reinitialise=reinitialise, retries=retries, replay=replay, increments=increments,
        slow_every=slow_every, slow_s=slow_s,
        open_streams=streams, activities=flags.activities(activities), tool=tool,
        arguments=flags.tool_arguments(arguments), headers=flags.headers(header or []), record_state=record_state,
    )  # fmt: skip
    chosen = clients_of(chosen, strategy, c.given(context))
    chosen.validate()
    path = history or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-probe" / "history.jsonl"
    with err.status("calling ...") as status:

        def show(now: Progress) -> None:
            status.update(f"{now.calls} calls, {now.failures} failed, {now.alive} of {now.sessions} sessions alive")

        try:
            summary = run_probe(chosen, path, seed=seed, on_progress=show)
        except KeyboardInterrupt:
            raise Interrupted(f"cut off; records so far: {path}") from None
    out.print_json(json.dumps(summary, default=str))
    err.print(f"records: {path}", soft_wrap=True)
    if not summary["session_complete"]:
        raise typer.Exit(FAIL)
