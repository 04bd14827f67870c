"""What runs in a simulated task: an application behind uvicorn, or one of the bad images that a rehearsal deploys."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from rollproof.core.errors import RollproofError
from rollproof.orchestrator.runtimes.serve_app import KEEP_ALIVE_S, SHUTDOWN_GRACE_S, as_asgi
from rollproof.sim.modules import Applications
from rollproof.sim.process import Programme, SimProcess

NEVER_LISTENS = ("rollproof-sim", "never-listens")
CRASHES_AT_START = ("rollproof-sim", "crashes-at-start")

START_S = 1.0
"""How long an application takes from its process's start until it listens: loading costs no virtual time."""


def application(applications: Applications, *, start_s: float = START_S) -> Programme:
    """Each process serves an application of its own until its server ends."""

    async def run(process: SimProcess) -> int:
        await asyncio.sleep(start_s)
        try:
            made = applications.make(process.environment, task_id=process.name)
        except RollproofError as error:
            process.write_log(f"{error.message}\n")
            return 2
        server = made if isinstance(made, uvicorn.Server) else _server(made, int(process.environment["PORT"]))
        try:
            await server.serve()
        except SystemExit as error:  # uvicorn's way to say that the application did not start
            return error.code if isinstance(error.code, int) else 1
        return 0

    return run


def _server(made: Any, port: int) -> uvicorn.Server:
    """As the local stage serves it (orchestrator/runtimes/serve_app.py)."""
    config = uvicorn.Config(
        as_asgi(made),
        host="0.0.0.0",  # noqa: S104 - a host in memory
        port=port,
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    return uvicorn.Server(config)


async def never_listens(process: SimProcess) -> int:
    """Runs, answers nothing, and ends on SIGTERM."""
    await process.signalled.wait()
    return 0


async def crashes_at_start(process: SimProcess) -> int:
    process.write_log("cannot start: no configuration\n")
    return 1


BUILT_IN: dict[tuple[str, ...], Programme] = {NEVER_LISTENS: never_listens, CRASHES_AT_START: crashes_at_start}
