"""rollproof: the commands, and what becomes of errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rollproof import __version__
from rollproof.cli import (
    compare,
    deploy,
    down,
    faults,
    knobs,
    matrix,
    predict,
    probe,
    rehearse,
    report,
    status,
    stop_task,
    up,
    wait,
    whatif,
)
from rollproof.cli.running import Interrupted, interruptible, tell_error
from rollproof.core.errors import RollproofError

app = typer.Typer(
    help="Rehearse an ECS rollout on this machine: do MCP sessions survive it?",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in {
    "rehearse": rehearse,
    "up": up,
    "deploy": deploy,
    "status": status,
    "wait": wait,
    "probe": probe,
    "stop-task": stop_task,
    "down": down,
    "report": report,
    "compare": compare,
    "matrix": matrix,
    "whatif": whatif,
    "knobs": knobs,
    "faults": faults,
    "predict": predict,
}.items():
    app.command(name, epilog=module.EXAMPLES)(module.command)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"rollproof {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script. Exit codes: 0 pass, 1 fail, 2 usage, 3 unknown, 130 interrupted."""
    try:
        with interruptible():
            app()
    except (RollproofError, Interrupted, BaseExceptionGroup) as error:
        sys.exit(tell_error(error))


if __name__ == "__main__":
    main()
