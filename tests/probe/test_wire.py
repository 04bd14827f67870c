"""What the network does, and what becomes of it: one request against a server that misbehaves in one way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.cookies import CookieJar
from rollproof.probe.options import CookieMode, ProbeOptions
from rollproof.probe.run import SystemClock
from rollproof.probe.wire import Wire, http_transports
from tests.probe.loopback import Loopback, Reply, Request

RESULT: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
OTHER: dict[str, Any] = {"jsonrpc": "2.0", "id": 99, "result": {}}
ERROR: dict[str, Any] = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
Act = Callable[[Reply], Awaitable[None]]


def client_of(options: ProbeOptions) -> McpClient:
    jar = CookieJar(options.endpoint, CookieMode.FULL)
    return McpClient(options, Wire(options, http_transports(options), jar, SystemClock()), "client-1")


async def ask(url: str, **options: Any) -> Answer:
    """tools/call as the session's first request, id 1."""
    client = client_of(ProbeOptions(url, **{"request_timeout_s": 5.0, "resume": False, **options}))
    try:
        return await client.call_tool("ping", {})
    finally:
        await client.close_wire()


def body(status: int, text: str, content_type: str = "application/json", missing: int = 0) -> Act:
    return lambda reply: reply.body(status, text, content_type, missing=missing)


def stream(*events: Any, end: bool = True) -> Act:
    async def act(reply: Reply) -> None:
        await reply.start_stream()
        for event in events:
            await (reply.send(event) if isinstance(event, str) else reply.event(event))
        if end:
            await reply.end_stream()
        else:
            reply.cut()

    return act


async def hang_up(reply: Reply) -> None:
    reply.cut()


@pytest.mark.parametrize(
    ("act", "signature", "status"),
    [
        pytest.param(body(200, json.dumps(RESULT)), "ok", 200, id="json"),
        pytest.param(stream(RESULT), "ok", 200, id="stream"),
        pytest.param(stream(": ping\n\n", "id: 1\ndata:\n\n", OTHER, RESULT), "ok", 200, id="stream_with_all_else"),
        pytest.param(stream(RESULT, end=False), "ok", 200, id="cut_after_the_answer"),
        pytest.param(body(404, json.dumps(ERROR)), "404/-32600 Session not found", 404, id="session_not_found"),
        pytest.param(stream({**ERROR, "id": 1}), "200/-32600 Session not found", 200, id="error_on_the_stream"),
        pytest.param(body(502, "<html>", "text/html"), "502", 502, id="bad_gateway"),
        pytest.param(body(502, "<html>", "text/html", missing=9), "502", 502, id="half_an_error_page"),
        pytest.param(body(503, "", ""), "503", 503, id="no_target"),
        pytest.param(hang_up, "connection-closed", None, id="hangs_up"),
        pytest.param(stream(), "stream-ended-without-response", 200, id="stream_ends_empty"),
        pytest.param(stream(OTHER), "stream-ended-without-response", 200, id="stream_ends_with_another_answer"),
        pytest.param(stream(": ping\n\n", end=False), "stream-ended-without-response", 200, id="stream_cut"),
        pytest.param(body(200, "{", missing=9), "stream-ended-without-response", 200, id="json_cut"),
        pytest.param(body(202, "", ""), "answer-missing", 202, id="accepted_and_no_more"),
        pytest.param(body(200, json.dumps(OTHER)), "answer-missing", 200, id="answers_another_request"),
        pytest.param(body(200, "[" * 100_000), "malformed-answer", 200, id="deeply_nested"),
        pytest.param(body(200, "{not json"), "malformed-answer", 200, id="no_json"),
        pytest.param(stream("data: {not json\n\n"), "malformed-answer", 200, id="no_json_on_the_stream"),
        pytest.param(body(200, "hello", "text/plain"), "malformed-answer", 200, id="plain_text"),
        pytest.param(body(200, '"' + "x" * 3000 + '"'), "answer-too-large", 200, id="huge_body"),
        pytest.param(stream("data: " + "x" * 3000), "answer-too-large", 200, id="huge_event"),
    ],
)
async def test_each_fault_has_its_signature(act: Act, signature: str, status: int | None) -> None:
    async def script(_request: Request, reply: Reply) -> None:
        await act(reply)

    limit = 2000 if "large" in signature else 1_000_000
    async with Loopback(script) as server:
        answer = await ask(server.url, max_answer_bytes=limit)
    assert (answer.signature, answer.http_status) == (signature, status)
    assert bool(answer.error) is (signature != "ok")
    assert answer.finished_t >= answer.started_t


async def test_nobody_listens() -> None:
    async with Loopback(lambda _request, reply: hang_up(reply)) as server:
        url = server.url
    assert (await ask(url)).signature == "connect-error"


@pytest.mark.parametrize("starts", [False, True])
async def test_no_answer_in_time(starts: bool) -> None:
    async def script(_request: Request, reply: Reply) -> None:
        if starts:
            await reply.start_stream()
        await asyncio.Event().wait()

    async with Loopback(script) as server:
        answer = await ask(server.url, request_timeout_s=0.05, slow_s=0.01)
    assert (answer.signature, answer.http_status) == ("timeout", 200 if starts else None)


async def test_a_redirection_is_told_not_followed() -> None:
    async def script(_request: Request, reply: Reply) -> None:
        reply.add_header("Location", "/mcp/")
        await reply.body(307)

    async with Loopback(script) as server:
        answer = await ask(server.url)
        assert len(server.requests) == 1
    assert (answer.signature, answer.error) == ("307", "redirected to /mcp/: give that URL as the endpoint")


async def test_the_connection_is_kept_alive_and_headers_are_sent() -> None:
    async def script(request: Request, reply: Reply) -> None:
        await stream({**RESULT, "id": request.message["id"]})(reply)

    async with Loopback(script) as server:
        client = client_of(ProbeOptions(server.url, headers={"Authorization": "Bearer x"}))
        for _ in range(3):
            assert (await client.call_tool("ping", {})).ok
            assert server.connections == 1
        await client.close_wire()
        assert all(request.headers["authorization"] == "Bearer x" for request in server.requests)


async def test_a_request_of_the_server_is_answered_while_the_call_goes_on() -> None:
    answered = asyncio.Event()
    asked = {"jsonrpc": "2.0", "id": "r.1", "method": "elicitation/create", "params": {}}

    async def script(request: Request, reply: Reply) -> None:
        if "method" not in request.message:
            assert request.message["error"]["code"] == -32601
            await reply.body(202)
            answered.set()
            return
        await reply.start_stream()
        await reply.event(asked)
        await answered.wait()
        await reply.event(RESULT)
        await reply.end_stream()

    async with Loopback(script) as server:
        answer = await ask(server.url)
    assert answer.ok


async def test_a_broken_answer_is_taken_up_with_its_last_event_id() -> None:
    async def script(request: Request, reply: Reply) -> None:
        if request.method == "GET":
            assert request.headers["last-event-id"] == "e1"
            assert request.headers["accept"] == "text/event-stream"
            await stream(RESULT)(reply)
        else:
            await stream("id: e1\nretry: 1\ndata:\n\n", end=False)(reply)

    async with Loopback(script) as server:
        answer = await ask(server.url, resume=True)
        assert (answer.ok, answer.resumed) == (True, 1)
        assert (await ask(server.url, resume=False)).signature == "stream-ended-without-response"


@pytest.mark.parametrize(
    ("resumption", "tries", "told"),
    [(body(405, ""), 1, "resuming it: 405"), (stream(), 2, "resuming it: stream-ended-without-response")],
)
async def test_what_cannot_be_taken_up_stays_broken(resumption: Act, tries: int, told: str) -> None:
    async def script(request: Request, reply: Reply) -> None:
        await (resumption if request.method == "GET" else stream("id: e1\nretry: 1\ndata:\n\n"))(reply)

    async with Loopback(script) as server:
        answer = await ask(server.url, resume=True, reconnect_s=0.001)
        assert [request.method for request in server.requests] == ["POST"] + ["GET"] * tries
    assert answer.signature == "stream-ended-without-response"
    assert told in answer.error


async def test_every_page_of_tools_is_listed() -> None:
    async def script(request: Request, reply: Reply) -> None:
        cursor = request.message["params"].get("cursor", "")
        page: dict[str, Any] = {"tools": [{"name": f"tool{cursor}"}]}
        if cursor != "2":
            page["nextCursor"] = {"": "1", "1": "2"}[cursor]
        await reply.json(200, {"jsonrpc": "2.0", "id": request.message["id"], "result": page})

    async with Loopback(script) as server:
        client = client_of(ProbeOptions(server.url))
        answer, tools = await client.list_tools()
        await client.close_wire()
    assert answer.ok
    assert [tool["name"] for tool in tools] == ["tool", "tool1", "tool2"]


def test_the_answers_time_is_the_answers_not_the_streams() -> None:
    answer = Answer(started_t=1.0, finished_t=2.0)
    assert replace(answer, resumed=1).finished_t - answer.started_t == 1.0
