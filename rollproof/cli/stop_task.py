"""rollproof stop-task: StopTask, or with --crash a SIGKILL behind the scheduler's back."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from rollproof.cli import options as o
from rollproof.cli.running import out, run
from rollproof.cli.stage import StageName, StageOption, act_in_compose
from rollproof.orchestrator.control import ask

EXAMPLES = """[bold]Examples[/]

rollproof stop-task                 the oldest task

rollproof stop-task 3f2a --reason "maintenance"

rollproof stop-task 3f2a --crash    kill -9 its process instead
"""


def command(
    task: Annotated[str, typer.Argument(help="The task's id, or the beginning of it.")] = "",
    stage: StageOption = StageName.LOCAL,
    reason: Annotated[str, typer.Option(help="Becomes part of stoppedReason.")] = "",
    crash: Annotated[bool, typer.Option("--crash", help="SIGKILL, as if it had died by itself.")] = False,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    as_json: o.Json = False,
) -> None:
    """Stop one task of the stage that is up."""
    if stage is StageName.DOCKER:
        act_in_compose(sys.argv[1:])
    request = {"do": "kill-task" if crash else "stop-task", "task": task, "reason": reason}
    answer = run(ask(o.state_dir_of(state_dir), request), on_stop="")
    if as_json:
        out.print_json(json.dumps(answer))
    else:
        out.print(f"task {answer['task_id']}: {'killed' if crash else 'stopping'}; rollproof status shows it")
