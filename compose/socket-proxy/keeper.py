"""Keeps the stage's parts up: one that was killed is started again, as AWS would replace its own.

ElastiCache, the load balancer and the control plane are AWS's to keep running; Docker restarts a container that
crashed (`restart: on-failure`), but not one that was killed through its API (`docker compose kill`): to Docker that
is somebody's wish. To a rehearsal it is a fault. A part that was asked to stop (SIGTERM first, as `docker compose
stop`, `down` and `up` do) stays stopped.

Redis also ends by a command of its protocol, with code 0 and without a signal: that is how a rehearsal restarts it
(rollproof/orchestrator/redis_outage.py), and Docker takes it for the end of its work.

It can start containers of this project's services that it was told of, and nothing else. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

KILLED = "137"
ENDED = {"redis": frozenset({KILLED, "0"})}
"""Exit codes, by service, of containers that nobody asked to stop and that are started again; else KILLED alone."""
PAUSE_S = 1.0  # a container that is being removed is killed first, and is gone by then
RETRY_S = 2.0
_STOP_SIGNALS = frozenset({"15", "SIGTERM", "2", "SIGINT", "3", "SIGQUIT"})

Start = Callable[[str], Awaitable[object]]


class Deaths:
    """Which containers are to be started again. Pure: the Engine's events in, container ids out."""

    def __init__(self, project: str, services: frozenset[str]) -> None:
        self._project, self._services = project, services
        self._asked: set[str] = set()  # ids of containers that were asked to stop

    def heard(self, event: Mapping[str, Any]) -> str:
        """The id of the container to start; "" mostly."""
        action, actor = event.get("Action"), event.get("Actor") or {}
        attributes, identifier = actor.get("Attributes") or {}, str(actor.get("ID") or "")
        if not self._is_ours(attributes):
            return ""
        if action == "kill" and str(attributes.get("signal")) in _STOP_SIGNALS:
            self._asked.add(identifier)
        elif action in ("start", "destroy"):
            self._asked.discard(identifier)
        elif (
            action == "die" and str(attributes.get("exitCode")) in _codes(attributes) and identifier not in self._asked
        ):
            return identifier
        return ""

    def _is_ours(self, attributes: Mapping[str, Any]) -> bool:
        return (
            attributes.get("com.docker.compose.project") == self._project
            and attributes.get("com.docker.compose.service") in self._services
            and attributes.get("com.docker.compose.oneoff", "False") == "False"
        )


def _codes(attributes: Mapping[str, Any]) -> frozenset[str]:
    return ENDED.get(str(attributes.get("com.docker.compose.service")), frozenset({KILLED}))


def events_target(project: str) -> str:
    """The Engine's events that matter here: a request target."""
    filters = {
        "type": ["container"],
        "event": ["kill", "die", "start", "destroy"],
        "label": [f"com.docker.compose.project={project}"],
    }
    return f"/events?filters={quote(json.dumps(filters))}"


async def keep(
    engine: str, request: bytes, deaths: Deaths, start: Start, say: Callable[[str], None], *, pause_s: float = PAUSE_S
) -> None:
    """Follow the events for ever, and start what was killed. `request` asks the Engine for them, as HTTP/1.0."""
    starting: set[asyncio.Task[None]] = set()

    async def start_again(identifier: str) -> None:
        await asyncio.sleep(pause_s)
        with suppress(OSError):
            await start(identifier)

    while True:
        with suppress(OSError, ValueError):
            answers, asks = await asyncio.open_unix_connection(engine, limit=1 << 20)
            try:
                asks.write(request)
                await answers.readuntil(b"\r\n\r\n")
                while line := await answers.readline():
                    if identifier := deaths.heard(json.loads(line)):
                        say(f"{identifier[:12]} was killed: starting it again")
                        task = asyncio.create_task(start_again(identifier))
                        starting.add(task)
                        task.add_done_callback(starting.discard)
            finally:
                asks.close()
        await asyncio.sleep(RETRY_S)
