"""What a task cannot reach it is told at once, and in words that say what to do."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from rollproof.sim.process import SimProcess
from rollproof.sim.redis import URL
from tests.sim.conftest import Play

BLOCKING: dict[str, Callable[[], Any]] = {
    "redis": lambda: redis.Redis.from_url(URL, retry=None).get("key"),
    "urllib": lambda: urllib.request.urlopen("http://10.0.0.77/", timeout=60),
    "socket": lambda: socket.create_connection(("10.0.0.77", 80)),
}


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
@pytest.mark.parametrize("client", BLOCKING)
def test_a_blocking_client_of_a_task_is_refused_at_once(client: str, where: str, tmp_path: Path, play: Play) -> None:
    said: list[str] = []

    async def programme(_: SimProcess) -> int:
        try:
            await asyncio.to_thread(BLOCKING[client]) if where == "in a thread" else BLOCKING[client]()
        except (OSError, redis.ConnectionError, urllib.error.URLError) as error:
            said.append(str(error))
        return 0

    async def main() -> None:
        network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
        SimProcess("task", "10.0.0.9", {}, network, tmp_path / "log", lambda _: None).start(programme)
        await asyncio.sleep(10)

    began = time.perf_counter()
    play(main())
    assert time.perf_counter() - began < 5
    assert "use an asyncio one, or --stage local" in said[0]


def test_others_have_their_network(play: Play) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        socket.create_connection(listener.getsockname()).close()

    play(main())
    listener.close()
