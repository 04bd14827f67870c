"""Which parts of the Compose project are started again, told as the Engine's events."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "compose" / "socket-proxy"))
import keeper
import proxy as gate
import rules

Event = dict[str, Any]


def event(
    action: str, service: str = "lb", *, project: str = "demo", oneoff: str = "False", **attributes: str
) -> Event:
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.oneoff": oneoff,
    }
    return {"Action": action, "Actor": {"ID": f"{project}-{service}", "Attributes": {**labels, **attributes}}}


KILL, TERM = event("kill", signal="9"), event("kill", signal="15")
DIED, ENDED = event("die", exitCode="137"), event("die", exitCode="0")


@pytest.mark.parametrize(
    ("events", "started"),
    [
        ([KILL, DIED], ["demo-lb"]),
        ([DIED], ["demo-lb"]),
        ([TERM, ENDED], []),
        ([TERM, KILL, DIED], []),  # asked to stop, and too slow
        ([TERM, KILL, DIED, event("start"), KILL, DIED], ["demo-lb"]),
        ([event("die", "redis", exitCode="0")], ["demo-redis"]),  # SHUTDOWN, by its own protocol
        ([event("kill", "redis", signal="15"), event("die", "redis", exitCode="0")], []),
        ([ENDED], []),
        ([event("die", exitCode="1")], []),  # a crash: that is Docker's own restart policy's
        ([event("kill", "server", signal="9"), event("die", "server", exitCode="137")], []),  # tasks are ECS's business
        ([event("die", "socket-proxy", exitCode="137")], []),
        ([event("die", project="other", exitCode="137")], []),
        ([event("die", oneoff="True", exitCode="137")], []),  # of `docker compose run`
        ([{"Action": "die"}, {}], []),
    ],
)
def test_what_was_killed_is_started_and_what_was_stopped_is_not(events: list[Event], started: list[str]) -> None:
    deaths = keeper.Deaths("demo", frozenset({"redis", "lb", "orchestrator"}))
    assert [identifier for event in events if (identifier := deaths.heard(event))] == started


async def test_the_engine_is_asked_to_start_it(tmp_path: Path) -> None:
    asked: list[str] = []
    is_started = asyncio.Event()

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition(" HTTP/")[0])
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        if head.startswith("GET /events"):
            writer.writelines(json.dumps(each).encode() + b"\n" for each in (KILL, DIED))
            await writer.drain()
            await is_started.wait()
        else:
            is_started.set()
        writer.close()

    server = await asyncio.start_unix_server(engine, tmp_path / "engine.sock")
    proxy = gate.Proxy(rules.Scope("demo", "server", "demo_default", ()), str(tmp_path / "engine.sock"))
    keeping = asyncio.create_task(proxy.keep(frozenset({"lb"}), pause_s=0.0))
    async with asyncio.timeout(5):
        await is_started.wait()
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    server.close()
    assert asked[0].startswith("GET /events?filters=")
    assert asked[1] == "POST /containers/demo-lb/start"
