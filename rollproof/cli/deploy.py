"""rollproof deploy: UpdateService on the stage that is up."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rollproof.cli import options as o
from rollproof.cli.live import short
from rollproof.cli.running import FAIL, err, out, run
from rollproof.cli.stage import StageName, StageOption, act_in_compose
from rollproof.core.errors import Permanent
from rollproof.orchestrator.control import NothingUp, ask

EXAMPLES = """[bold]Examples[/]

rollproof deploy --force-new-deployment             replace every task with a like one

rollproof deploy --env APP_VERSION=2                a new revision

rollproof deploy --image no-such-image              tasks that cannot start: CannotPullContainerError

rollproof deploy --command "sleep 600"              a server that never listens

rollproof deploy --desired-count 4 --no-wait

rollproof deploy --stage docker --force-new-deployment

Exit codes: 0 it completed, 1 it failed or was rolled back.
"""
_LOOK_S = 0.2


def command(
    stage: StageOption = StageName.LOCAL,
    force_new_deployment: Annotated[
        bool, typer.Option("--force-new-deployment", help="Replace all tasks though nothing changed.")
    ] = False,
    image: Annotated[str, typer.Option(help="Another image. Unknown ones cannot be pulled.")] = "",
    command_line: Annotated[str, typer.Option("--command", help="Another command for the container.")] = "",
    env: o.Env = None,
    desired_count: Annotated[int | None, typer.Option(min=0, help="Tasks that should run.")] = None,
    minimum_healthy_percent: Annotated[int | None, typer.Option(min=0, max=100)] = None,
    maximum_percent: Annotated[int | None, typer.Option(min=0)] = None,
    wait: Annotated[bool, typer.Option(help="Until the service is steady again, as `ecs wait` does.")] = True,
    state_dir: o.StateDir = o.DEFAULT_STATE_DIR,
    as_json: o.Json = False,
) -> None:
    """Deploy to the stage that is up, and wait until the service is steady."""
    if stage is StageName.DOCKER:
        act_in_compose(sys.argv[1:])
    request = {
        "do": "update-service",
        "force_new_deployment": force_new_deployment,
        "image": image,
        "command": o.words("--command", command_line),
        "environment": o.pairs("--env", env),
        "desired_count": desired_count,
        "minimum_healthy_percent": minimum_healthy_percent,
        "maximum_percent": maximum_percent,
    }
    answer = run(_deploy(request, o.state_dir_of(state_dir), wait=wait), on_stop="no longer waiting; the stage goes on")
    if as_json:
        out.print_json(json.dumps(answer))
    elif wait:
        out.print(f"{answer['deployment']}: {answer['rollout_state']}")
    else:
        out.print(f"{answer['deployment']} begun; rollproof status --watch shows it")
    if wait and answer["rollout_state"] != "COMPLETED":
        raise typer.Exit(FAIL)


async def _deploy(request: dict[str, Any], state_dir: Path, *, wait: bool) -> dict[str, Any]:
    before = await ask(state_dir, {"do": "status"})
    told = max((event["at"] for event in before["events"]), default=-1.0)
    answer = await ask(state_dir, request)
    while wait:
        status = await _status(state_dir, answer["deployment"])
        for event in reversed(status["events"]):
            if event["at"] > told:
                err.print(f"{event['at']:7.1f} s  {short(event['message'])}", soft_wrap=True)
                told = event["at"]
        primary = status["deployments"][0]
        if primary["rollout_state"] == "FAILED" or (status["is_steady"] and len(status["deployments"]) == 1):
            completed = primary["id"] == answer["deployment"]
            return answer | {"rollout_state": primary["rollout_state"] if completed else "ROLLED_BACK"}
        await asyncio.sleep(_LOOK_S)
    return answer


async def _status(state_dir: Path, deployment: str) -> dict[str, Any]:
    try:
        return await ask(state_dir, {"do": "status"})
    except NothingUp as error:
        raise Permanent(
            f"the orchestrator in {state_dir} ended while {deployment} was under way", hint=error.hint
        ) from error
