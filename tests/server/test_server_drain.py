"""The drain, without a process around it: which requests it ends, which it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from server_process import ACCEPT, initialize, result, tool_call
from starlette.types import Message, Receive, Scope, Send

from server.app import create_app
from server.settings import Settings
from server.shutdown import Drain, DrainMiddleware

DEADLINE_S = 5.0
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
DISCONNECT: Message = {"type": "http.disconnect"}


async def stream_until_disconnected(scope: Scope, receive: Receive, send: Send) -> None:
    """What an event stream does: it begins, and leaves without an end when it learns that its client has."""
    await send(START)
    while (await receive())["type"] != "http.disconnect":
        pass


class Exchange:
    """One request through the middleware; what the client sends and sees."""

    def __init__(self, app: Any, drain: Drain, *, method: str = "GET", path: str = "/mcp") -> None:
        self.sent: list[Message] = []
        self._began = asyncio.Event()
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        middleware = DrainMiddleware(app, drain=drain, path="/mcp")
        self._serving = asyncio.ensure_future(middleware(scope, self._incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self._began.set()

    async def wait_begun(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._began.wait()

    def leave(self) -> None:
        self._incoming.put_nowait(DISCONNECT)

    async def wait_over(self) -> Sequence[Message]:
        async with asyncio.timeout(DEADLINE_S):
            await self._serving
        return self.sent


async def test_the_drain_ends_a_stream_with_a_proper_end() -> None:
    drain = Drain()
    exchange = Exchange(stream_until_disconnected, drain)
    await exchange.wait_begun()
    assert (drain.open_streams, drain.calls_in_flight) == (1, 0)
    drain.begin()
    assert await exchange.wait_over() == [START, END]
    assert drain.open_streams == 0


async def test_a_client_that_leaves_ends_its_stream_as_ever() -> None:
    drain = Drain()
    exchange = Exchange(stream_until_disconnected, drain)
    await exchange.wait_begun()
    exchange.leave()
    assert await exchange.wait_over() == [START]
    assert drain.open_streams == 0


async def test_a_get_that_has_been_answered_is_not_ended_twice() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(END)
        drain.begin()

    drain = Drain()
    assert await Exchange(answer, drain).wait_over() == [START, END]


async def test_calls_and_other_paths_run_on_through_the_drain() -> None:
    finish = asyncio.Event()

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await finish.wait()
        await send(END)

    drain = Drain()
    exchanges = [
        Exchange(work, drain, method="POST"),
        Exchange(work, drain, method="DELETE", path="/mcp/"),
        Exchange(work, drain, path="/health"),
    ]
    for exchange in exchanges:
        await exchange.wait_begun()
    assert drain.calls_in_flight == 2
    drain.begin()
    finish.set()
    assert [await exchange.wait_over() for exchange in exchanges] == [[START, END]] * 3
    assert drain.calls_in_flight == 0


async def test_while_draining_it_is_unhealthy_and_opens_no_streams() -> None:
    drain = Drain()
    app = create_app(Settings(), task_id="t", drain=drain)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server", headers=ACCEPT) as client,
    ):
        opened = await client.post("/mcp", json=initialize())
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        drain.begin()
        health, stream, call = await asyncio.gather(
            client.get("/health"),
            client.get("/mcp", headers=session),
            client.post("/mcp", json=tool_call("ping"), headers=session),
        )
    assert (health.status_code, health.json()["status"]) == (503, "draining")
    assert stream.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert result(call)["task_id"] == "t"  # a call that still arrives is answered
