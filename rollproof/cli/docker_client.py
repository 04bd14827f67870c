"""`python -m rollproof.cli.docker_client`: the command line in the project's containers.

All commands as everywhere, on the stage that Compose has set; `rehearse` plays on that stage. Flags that set
something of the service set the stage anew; without one it is rehearsed as it is. `play` is `rehearse` for a program:
orchestrator/compose_stage.py. In the orchestrator's container there is `orchestrate`, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from rollproof.cli import main, players
from rollproof.cli import options as o
from rollproof.cli.running import run
from rollproof.cli.stage import StageName
from rollproof.core.errors import RollproofError
from rollproof.docker_rehearsal import ON_ALL_ADDRESSES, order_of, read_order, rehearse_on_docker
from rollproof.orchestrator.compose_stage import as_json
from rollproof.orchestrator.docker_remote import open_run
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.rehearsal import Rehearsed


def state_dir() -> Path:
    return o.state_dir_of(Path(os.environ.get("ROLLPROOF_STATE_DIR", str(o.DEFAULT_STATE_DIR))))


class OnTheSpot(players.EachSetsItsOwn):
    """Plays on the stage whose volumes this container has."""

    environment: Mapping[str, str] = ON_ALL_ADDRESSES
    balancer = BalancerKind.NGINX  # what the project has is seen when the run begins

    refused: Mapping[str, tuple[str, str]] = dict.fromkeys(
        ("--app", "--command", "--image", "--redis-url"),
        ("not for the project's client", "set ROLLPROOF_IMAGE for docker compose up"),
    )

    on_stop = "stopped; the stage stays up: docker compose down ends it"

    async def rehearse(self, asked: players.Asked, audience: players.Audience, /) -> Rehearsed:
        order = order_of(asked.rehearsal, is_as_it_is=asked.is_as_it_is)
        return await rehearse_on_docker(order, state_dir(), listener=audience.listen)


def play() -> None:
    """Play the order on standard input; records on standard output, a line each."""

    async def played() -> None:
        order = read_order(sys.stdin.buffer.read())
        await rehearse_on_docker(
            order, state_dir(), listener=lambda record: _say(as_json(**record)),
            on_begun=lambda run_dir: _say(as_json("run", name=run_dir.name)),
        )  # fmt: skip

    _answering(played())


def set_stage() -> None:
    """Set the stage as the order on standard input says."""

    async def set_it() -> None:
        async with open_run(state_dir(), "up", read_order(sys.stdin.buffer.read()).programme):
            pass

    _answering(set_it())


def _answering(work: Coroutine[Any, Any, None]) -> None:
    """A failure is the last line on standard output."""
    try:
        run(work, on_stop="")
    except RollproofError as error:
        name = next(x.__name__ for x in type(error).__mro__ if x.__name__ in ("UsageError", "Permanent", "Temporary"))
        _say(as_json("failed", error=name, message=error.message, hint=error.hint))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def add_docker_commands() -> None:
    """`rehearse` on the spot, `play`; `orchestrate` where the Docker SDK is installed."""
    players.PLAYERS.update(dict.fromkeys(StageName, OnTheSpot()))
    o.PROGRAM = "docker compose run --rm client"
    main.app.command("play", hidden=True)(play)
    main.app.command("set-stage", hidden=True)(set_stage)
    if importlib.util.find_spec("docker") is not None:
        orchestrate = importlib.import_module("rollproof.cli.orchestrate")
        main.app.command("orchestrate", epilog=orchestrate.EXAMPLES)(orchestrate.command)


if __name__ == "__main__":
    add_docker_commands()
    main.main()
