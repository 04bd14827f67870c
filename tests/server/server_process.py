"""The server as ECS starts it: a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 20.0
ACCEPT = {"accept": "application/json, text/event-stream"}
INHERITED = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


class ServerProcess:
    """A running `python -m server`. `log` grows as it writes; `url` is known once it serves."""

    class Starter(Protocol):
        async def __call__(self, **environment: str) -> ServerProcess: ...

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Condition()
        self.log: list[dict[str, Any]] = []
        self.unreadable: list[str] = []
        self.url = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls, environment: Mapping[str, str]) -> AsyncIterator[ServerProcess]:
        """Start it, wait until it is healthy; kill it at the end if it still runs."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "server",
            cwd=REPOSITORY,
            env={**inherited, "PORT": "0", **environment},
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        server = cls(process)
        reading = asyncio.ensure_future(server._read_log())
        try:
            started = await server.wait_logged("server_started")
            server.url = f"http://127.0.0.1:{started['port']}"
            await server.wait_healthy()
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await reading

    async def _read_log(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._news:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.unreadable.append(line.decode())
                self._news.notify_all()

    async def wait_logged(self, event: str, **fields: object) -> dict[str, Any]:
        """The first line of this event with these fields."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event, **fields}
            return next((line for line in self.log if wanted.items() <= line.items()), None)

        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(found)
        line = found()
        assert line is not None
        return line

    async def wait_healthy(self) -> None:
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient() as client:
            while (await client.get(f"{self.url}/health")).status_code != httpx.codes.OK:
                pass

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait_exited(self) -> int:
        """The exit code."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()


def message(method: str, params: Mapping[str, Any], *, id: int | None = 1) -> dict[str, Any]:
    """A JSON-RPC request, or without an id a notification."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": dict(params)}
    return body if id is None else {**body, "id": id}


def tool_call(tool: str, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", {"name": tool, "arguments": arguments, "_meta": {"progressToken": 1}})


def initialize() -> dict[str, Any]:
    client = {"name": "test", "version": "1"}
    return message("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    """The JSON-RPC messages of a response, JSON or event stream, in order."""
    if response.headers["content-type"].startswith("application/json"):
        return [response.json()]
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def result(response: httpx.Response) -> dict[str, Any]:
    """The structured content of a tool call that succeeded."""
    assert response.status_code == httpx.codes.OK, response.text
    last = answers(response)[-1]["result"]
    assert not last.get("isError"), last["content"]
    content: dict[str, Any] = last["structuredContent"]
    return content


def error_text(response: httpx.Response) -> str:
    """The message of a tool call that the tool refused."""
    last = answers(response)[-1]["result"]
    assert last["isError"], last
    text: str = last["content"][0]["text"]
    return text
