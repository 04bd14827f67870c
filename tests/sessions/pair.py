"""A FastMCP server with tools of every kind, served on loopback, and a raw client of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.server.http import StarletteWithLifespan
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
)
from starlette.requests import Request
from starlette.responses import JSONResponse

VERSION = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
CAPABILITIES = {"elicitation": {}, "sampling": {}, "roots": {}}


def make_server(name: str, auth: Any = None) -> FastMCP:
    """A replica's server; its tools say `name`."""
    mcp = FastMCP("resilient-test", auth=auth)
    running: dict[str, int] = {"slow": 0}

    @mcp.tool
    def whoami(ctx: Context) -> dict[str, str]:
        return {"replica": name, "session": ctx.session_id}

    @mcp.tool
    async def remember(key: str, value: str, ctx: Context) -> str:
        await ctx.set_state(key, value)
        return name

    @mcp.tool
    async def recall(key: str, ctx: Context) -> str:
        return str(await ctx.get_state(key))

    @mcp.tool
    async def ask(question: str, ctx: Context) -> str:
        answer = await ctx.elicit(question, response_type=str)
        return f"{name}: {answer.data if answer.action == 'accept' else answer.action}"

    @mcp.tool
    async def sample(prompt: str, ctx: Context) -> str:
        asked = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        reply = await ctx.session.create_message([asked], max_tokens=10, related_request_id=ctx.request_id)
        return f"{name}: {getattr(reply.content, 'text', '')}"

    @mcp.tool
    async def roots(ctx: Context) -> list[str]:
        return [str(root.uri) for root in (await ctx.session.list_roots()).roots]

    @mcp.tool
    async def slow(seconds: float, ctx: Context, steps: int = 4) -> str:
        running["slow"] += 1
        try:
            for step in range(1, steps + 1):
                await asyncio.sleep(seconds / steps)
                await ctx.report_progress(step, steps)
        finally:
            running["slow"] -= 1
        return f"{name} is done"

    @mcp.tool
    async def choose(ctx: Context) -> Any:
        """In rounds, as protocol 2026-07-28 has it (SEP-2322)."""
        if not ctx.input_responses:
            form = {"type": "object", "properties": {"value": {"type": "string"}}}
            asked = ElicitRequest(params=ElicitRequestFormParams(message="Which?", requested_schema=form))
            return InputRequiredResult(input_requests={"answer": asked}, request_state=name)
        answer = ctx.input_responses["answer"]
        return f"asked by {ctx.request_state}, answered at {name}: {answer.content['value']}"  # type: ignore[union-attr, index]

    @mcp.tool
    async def announce(text: str, ctx: Context) -> str:
        await ctx.session.send_resource_updated(f"note://{text}")
        return name

    @mcp.tool
    async def log(text: str, level: str, ctx: Context) -> str:
        await ctx.log(text, level=level)  # type: ignore[arg-type]
        return name

    @mcp.custom_route("/running", methods=["GET"])
    async def say_running(_request: Request) -> JSONResponse:
        return JSONResponse(running)

    return mcp


StartReplica = Callable[..., Coroutine[Any, Any, "Replica"]]
"""`await start_replica("a", cache_s=1)`; see conftest."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass
class Replica:
    """One process's worth, in this one."""

    name: str
    url: str
    app: StarletteWithLifespan
    server: uvicorn.Server
    running: asyncio.Task[None]

    @classmethod
    @asynccontextmanager
    async def serving(cls, name: str, app: StarletteWithLifespan) -> AsyncIterator[Replica]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5, lifespan="on")
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if running.done():
                running.result()
            await asyncio.sleep(0.005)
        replica = cls(name, f"http://127.0.0.1:{port}", app, server, running)
        try:
            yield replica
        finally:
            await replica.stop()

    @property
    def sessions(self) -> Any:
        return self.app.state.sessions

    async def stop(self) -> None:
        """As on SIGTERM."""
        if not self.running.done():
            with contextlib.suppress(Exception):
                self.sessions.drain()
            self.server.should_exit = True
            await self.running

    async def die(self) -> None:
        """As on SIGKILL: no goodbye to Redis, nothing written behind, every connection gone."""
        link = self.sessions._link
        for task in link._tasks:
            task.cancel()
        link._queue.clear()
        link.write = lambda *_commands: None
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        for listener in self.server.servers:
            listener.close()
        for task in list(self.sessions._serving._calls.values()):
            task.cancel()


@dataclass
class Answer:
    """What one exchange gave: the messages in order, with the ids of their events."""

    status: int
    headers: httpx.Headers
    messages: list[dict[str, Any]] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1]

    @property
    def text(self) -> str:
        """Of a tool's result."""
        return str(self.last["result"]["content"][0]["text"])

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.last["error"])


class Stream:
    """An event stream that is read message by message."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.event_ids: list[str] = []
        self._lines = response.aiter_lines()

    async def next(self, within_s: float = 5.0) -> dict[str, Any] | None:
        """The next message, None at the end."""
        async with asyncio.timeout(within_s):
            async for line in self._lines:
                if line.startswith("id:"):
                    self.event_ids.append(line[3:].strip())
                elif line.startswith("data:") and line[5:].strip():
                    return dict(json.loads(line[5:]))
        return None

    async def rest(self) -> list[dict[str, Any]]:
        messages = []
        while (message := await self.next(10)) is not None:
            messages.append(message)
        return messages


@dataclass
class Pair:
    """Two replicas, and a client that names the one it calls: `pair.a`, `pair.b`."""

    a: Replica
    b: Replica
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=10.0))
    session: str = ""
    number: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    async def close(self) -> None:
        await self.http.aclose()

    async def open(self, at: Replica, **params: Any) -> str:
        """initialize and initialized; the session's id."""
        body = {
            "protocolVersion": VERSION,
            "capabilities": CAPABILITIES,
            "clientInfo": {"name": "test", "version": "1"},
        }
        answer = await self.send(at, self.request("initialize", body | params), session="")
        assert answer.status == 200, answer
        self.session = answer.headers["mcp-session-id"]
        notified = await self.send(at, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert notified.status == 202
        return self.session

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.number += 1
        return {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params or {}}

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.request(
            "tools/call", {"name": name, "arguments": arguments, "_meta": {"progressToken": f"p{self.number}"}}
        )

    async def call(self, at: Replica, name: str, **arguments: Any) -> Answer:
        return await self.send(at, self.tool(name, **arguments))

    def headers(self, session: str | None = None, **more: str) -> dict[bytes, bytes]:
        headers = {"accept": ACCEPT, "content-type": "application/json", "mcp-protocol-version": VERSION, **self.extra}
        if session is None:
            session = self.session
        headers |= more | ({"mcp-session-id": session} if session else {})
        return {name.encode(): value.encode("latin-1") for name, value in headers.items()}

    async def send(self, at: Replica, message: Any, session: str | None = None) -> Answer:
        response = await self.http.post(f"{at.url}/mcp", json=message, headers=self.headers(session))
        return read(response)

    async def delete(self, at: Replica, session: str | None = None) -> Answer:
        return read(await self.http.delete(f"{at.url}/mcp", headers=self.headers(session)))

    @asynccontextmanager
    async def stream(self, at: Replica, message: dict[str, Any]) -> AsyncIterator[Stream]:
        """A call whose answer is read while it comes."""
        async with self.http.stream("POST", f"{at.url}/mcp", json=message, headers=self.headers()) as response:
            yield Stream(response)

    @asynccontextmanager
    async def listen(self, at: Replica, last_event_id: str = "", session: str | None = None) -> AsyncIterator[Stream]:
        """A GET stream."""
        headers = self.headers(session, **({"last-event-id": last_event_id} if last_event_id else {}))
        async with self.http.stream("GET", f"{at.url}/mcp", headers=headers) as response:
            yield Stream(response)


def read(response: httpx.Response) -> Answer:
    answer = Answer(response.status_code, response.headers)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        for line in response.text.splitlines():
            if line.startswith("id:"):
                answer.event_ids.append(line[3:].strip())
            elif line.startswith("data:") and line[5:].strip():
                answer.messages.append(json.loads(line[5:]))
    elif response.content:
        with contextlib.suppress(ValueError):
            answer.messages.append(response.json())
    return answer
