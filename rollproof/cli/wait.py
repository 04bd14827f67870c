"""rollproof wait: what `aws ecs wait` and `aws elbv2 wait` would do, on the stage that is up."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rollproof.cli import options as o
from rollproof.cli.running import FAIL, err, out, run
from rollproof.cli.stage import StageName, StageOption, act_in_compose
from rollproof.core.errors import UsageError
from rollproof.core.waiters import WAITERS, Answer, Waiter
from rollproof.orchestrator.control import NothingUp, ask

EXAMPLES = """[bold]Examples[/]

rollproof wait services-stable                      as a pipeline does after its deployment

rollproof wait tasks-stopped 3f2a                   until that task is gone

rollproof wait target-deregistered 3f2a --json

Exit codes: 0 it came true, 1 it failed or did not come true in AWS's number of tries.
"""

Name = StrEnum("Name", {each.upper().replace("-", "_"): each for each in WAITERS})  # type: ignore[misc]


@dataclass(frozen=True)
class Waited:
    """How it ended, after how many tries and AWS seconds."""

    waiter: str
    answer: Answer
    tries: int
    aws_seconds: float


def command(
    waiter: Annotated[Name, typer.Argument(help="; ".join(f"{name}: {x.doc}" for name, x in WAITERS.items()))],
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks, by the beginning of their ids. Default: those wanted now."),
    ] = None,
    stage: StageOption = StageName.LOCAL,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    as_json: o.Json = False,
) -> None:
    """Wait as AWS's own waiters do: their conditions, their pace (at the stage's speed), their number of tries."""
    if stage is StageName.DOCKER:
        act_in_compose(sys.argv[1:])
    waited = run(wait(str(waiter), tasks or [], o.state_dir_of(state_dir)), on_stop="no longer waiting")
    if as_json:
        out.print_json(json.dumps(asdict(waited)))
    else:
        how = {Answer.SUCCESS: "true", Answer.FAILURE: "failed", Answer.RETRY: "not true"}[waited.answer]
        out.print(f"{waited.waiter}: {how} after {waited.aws_seconds:.0f} AWS s ({waited.tries} tries)")
    if waited.answer is not Answer.SUCCESS:
        raise typer.Exit(FAIL)


async def wait(name: str, prefixes: Collection[str], state_dir: Path) -> Waited:
    """Asks until the waiter is content, has failed or has asked often enough. Raises NothingUp if nothing is up."""
    waiter, begun = WAITERS[name], time.monotonic()
    try:
        facts = await ask(state_dir, {"do": "status"})
    except NothingUp:
        if name != "services-inactive":
            raise
        return Waited(name, Answer.SUCCESS, 1, 0.0)
    speed, tasks = float(facts["speed"]), find_tasks(facts, prefixes)
    err.print(f"asking every {waiter.every_s:g} AWS s, {waiter.tries} times at most", style="dim")
    answer, tries = waiter.look(facts, tasks), 1
    while answer is Answer.RETRY and tries < waiter.tries:
        await asyncio.sleep(waiter.every_s / speed)
        answer, tries = await _look(waiter, tasks, state_dir), tries + 1
    return Waited(name, answer, tries, (time.monotonic() - begun) * speed)


async def _look(waiter: Waiter, tasks: Collection[str], state_dir: Path) -> Answer:
    return waiter.look(await _facts(state_dir), tasks)


async def _facts(state_dir: Path) -> dict[str, Any] | None:
    try:
        return await ask(state_dir, {"do": "status"})
    except NothingUp:
        return None


def find_tasks(facts: dict[str, Any], prefixes: Collection[str]) -> list[str]:
    """Ids that begin so; all that are wanted where none is named. Raises UsageError where one is not one task."""
    if not prefixes:
        return [x["task_id"] for x in facts["tasks"] if x["desired"] == "RUNNING"]
    found = []
    for prefix in prefixes:
        matching = [x["task_id"] for x in facts["tasks"] if x["task_id"].startswith(prefix)]
        if len(matching) != 1:
            raise UsageError(f"{prefix!r} could be {len(matching)} tasks", hint="rollproof status lists them")
        found += matching
    return found
