"""The one line that a user adds, under uvicorn as it comes: SIGTERM ends streams and lets calls finish."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from pair import Pair

from rollproof.orchestrator.redis_server import RedisServer


@pytest.fixture
async def start(redis_server: RedisServer) -> AsyncIterator[object]:
    async with AsyncExitStack() as stack:

        async def one() -> SimpleNamespace:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "uvicorn", "own_server:app", "--port", str(port), "--log-level", "warning"),
                cwd=Path(__file__).parent,
                env={**os.environ, "REDIS_URL": redis_server.url},
            )

            async def end() -> None:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

            stack.push_async_callback(end)
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient() as client:
                for _ in range(200):
                    try:
                        await client.get(url)
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.1)
            return SimpleNamespace(url=url, process=process)

        yield one


@pytest.mark.e2e
async def test_sigterm_ends_streams_and_lets_calls_finish_and_the_session_goes_on(start: object) -> None:
    a, b = await asyncio.gather(start(), start())  # type: ignore[operator]
    pair = Pair(a, b)
    await pair.open(a)
    async with pair.listen(a) as standalone, pair.stream(a, pair.tool("slow", seconds=1.5)) as stream:
        assert (await stream.next() or {}).get("method") == "notifications/progress"
        a.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await standalone.next(2) is None
        assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "done"
    async with pair.listen(b) as elsewhere:
        assert elsewhere.response.status_code == 200
    await a.process.wait()
    assert time.monotonic() - began < 6
    assert (await pair.call(b, "slow", seconds=0.0)).text == "done"
    await pair.close()
