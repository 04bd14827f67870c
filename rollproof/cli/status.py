"""rollproof status: the stage that is up, as a table."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rollproof.cli import options as o
from rollproof.cli.live import SHOWN_ID, short
from rollproof.cli.running import out, print_table, run
from rollproof.cli.stage import StageName, StageOption, act_in_compose
from rollproof.orchestrator.control import ask

EXAMPLES = """[bold]Examples[/]

rollproof status

rollproof status --watch          live, until Ctrl-C

rollproof status --json

rollproof status --stage docker
"""
_REFRESH_S = 0.5
_EVENTS = 8
_STYLES = {
    "RUNNING": "green", "healthy": "green", "COMPLETED": "green",
    "DEACTIVATING": "yellow", "draining": "yellow", "IN_PROGRESS": "yellow", "initial": "yellow",
    "unhealthy": "red", "FAILED": "red", "STOPPED": "dim",
}  # fmt: skip


def command(
    stage: StageOption = StageName.LOCAL,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it on the screen, live.")] = False,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    as_json: o.Json = False,
) -> None:
    """Show deployments, tasks, targets and the last service events."""
    if stage is StageName.DOCKER:
        act_in_compose(sys.argv[1:])
    directory = o.state_dir_of(state_dir)
    if watch and out.is_terminal and not as_json:
        run(_watch(directory), on_stop="")
        return
    status = run(ask(directory, {"do": "status"}), on_stop="")
    if as_json:
        out.print_json(json.dumps(status))
    else:
        print_table(render(status))


async def _watch(directory: Path) -> None:
    with Live(console=out, auto_refresh=False) as live:
        while True:
            live.update(render(await ask(directory, {"do": "status"})), refresh=True)
            await asyncio.sleep(_REFRESH_S)


def render(status: dict[str, Any]) -> Group:
    """The whole status as tables."""
    state = "steady" if status["is_steady"] else "not steady"
    head = (
        f"{status['service']}: {status['running_count']} of {status['desired_count']} running, {state}   "
        f"{status['endpoint']}   t={status['now']:.1f} s, speed {status['speed']:g}"
    )
    deployments = _table("deployment", "status", "rollout", "definition", "desired", "running", "pending", "failed",
                         "breaker")  # fmt: skip
    for x in status["deployments"]:
        deployments.add_row(x["id"], x["status"], _word(x["rollout_state"]), x["task_definition"],
                            *(str(x[name]) for name in ("desired", "running", "pending", "failed_tasks")),
                            _breaker(x))  # fmt: skip
    targets = {x["task_id"]: x for x in status["targets"]}
    tasks = _table("task", "known", "desired", "definition", "zone", "target", "state", "nodes")
    for x in status["tasks"]:
        target = targets.get(x["task_id"])
        tasks.add_row(
            x["task_id"][:SHOWN_ID], _word(x["known"]), x["desired"], x["task_definition"], x["availability_zone"],
            target["target_id"] if target else "-", _word(target["state"]) if target else Text("-"),
            " ".join(target["nodes"].values()) if target else "-",
        )  # fmt: skip
    events = [Text(f"{x['at']:8.1f} s  {short(x['message'])}", style="dim") for x in status["events"][:_EVENTS]]
    return Group(head, "", deployments, "", tasks, "", *events)


def _breaker(deployment: dict[str, Any]) -> str:
    """What it does, and where it trips: "MONITORING, trips at 3"."""
    status = str(deployment["circuit_breaker"])
    return f"{status}, trips at {deployment['failure_threshold']}" if status == "MONITORING" else status


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _word(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, ""))
