"""rollproof report: the report of a run that has been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import options as o
from rollproof.cli.rehearse import show
from rollproof.core.errors import UsageError
from rollproof.history import read_history
from rollproof.report import write_reports
from rollproof.report.eventbridge import eventbridge_events

EXAMPLES = """[bold]Examples[/]

rollproof report                               the newest run in runs/

rollproof report runs/20260101T120000-memory-rolling --verbose

rollproof report --eventbridge | jq .detail    what EventBridge would have had, an event a line
"""


def command(
    run_dir: Annotated[Path | None, typer.Argument(help="A run's directory.")] = None,
    runs: o.Runs = Path("runs"),
    as_json: o.Json = False,
    verbose: o.Verbose = False,
    eventbridge: Annotated[
        bool, typer.Option("--eventbridge", help="Print the run's events as EventBridge has them, and no report.")
    ] = False,
) -> None:
    """Judge a run again from its history, and print the report."""
    found = run_dir or max((x.parent for x in runs.glob("*/history.jsonl")), default=None)
    if found is None:
        raise UsageError(f"no run in {runs}", hint="rollproof rehearse makes one")
    history = found / "history.jsonl"
    if not history.is_file():
        raise UsageError(f"{found} is no run: it has no history.jsonl", hint=f"runs are in {runs}")
    try:
        if eventbridge:
            for event in eventbridge_events(read_history(history)):
                typer.echo(json.dumps(event, separators=(",", ":")))
            return
        verdict = write_reports(found, read_history(history))
    except ValueError as error:
        raise UsageError(str(error), hint="the history is damaged there; mend or remove that line") from error
    show(verdict, found, as_json=as_json, verbose=verbose)
