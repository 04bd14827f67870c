"""`python -m server` as ECS runs it: start, logs, health check command, SIGTERM, and two tasks with one Redis."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import uuid

import httpx
import pytest
from server_process import ACCEPT, REPOSITORY, ServerProcess, answers, initialize, result, tool_call

from rollproof.orchestrator.redis_server import RedisServer

pytestmark = pytest.mark.e2e  # processes of the server

MODES = {
    "stateful, event stream": {},
    "stateful, JSON": {"MCP_JSON_RESPONSE": "true"},
    "stateless, event stream": {"MCP_STATELESS_HTTP": "true"},
    "stateless, JSON": {"MCP_STATELESS_HTTP": "true", "MCP_JSON_RESPONSE": "true"},
}
# A process a test is slow: of what differs only in its mode, one runs always.
FIRST_MODE, *OTHER_MODES = MODES


async def open_session(client: httpx.AsyncClient, server: ServerProcess) -> dict[str, str]:
    """Headers that name a session, in whichever mode the server is."""
    response = await client.post(f"{server.url}/mcp", json=initialize(), headers=ACCEPT)
    session_id = response.headers.get("mcp-session-id", f"client-{uuid.uuid4()}")
    return {**ACCEPT, "mcp-session-id": session_id}


def run_healthcheck(port: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.healthcheck"]
    return subprocess.run(
        command, cwd=REPOSITORY, env={"PORT": port}, capture_output=True, text=True, timeout=30, check=False
    )


# --- two tasks -----------------------------------------------------------------------------------------


async def test_a_session_outlives_its_task_when_both_its_halves_have_moved_out(
    start_server: ServerProcess.Starter, redis_server: RedisServer
) -> None:
    environment = {"REDIS_URL": redis_server.url, "MCP_STATELESS_HTTP": "true"}
    old, new = await asyncio.gather(start_server(**environment), start_server(**environment))
    async with httpx.AsyncClient() as client:
        session = await open_session(client, old)
        call = tool_call("set_session_value", key="seq_1", value="call_1")
        written = result(await client.post(f"{old.url}/mcp", json=call, headers=session))
        old.signal(signal.SIGKILL)
        await old.wait_exited()
        read = result(await client.post(f"{new.url}/mcp", json=tool_call("get_session_state"), headers=session))
    assert read["state"] == {"seq_1": "call_1"}
    assert read["task_id"] != written["task_id"]


@pytest.mark.e2e
async def test_state_in_redis_is_out_of_reach_while_the_transport_session_lives_in_the_task(
    start_server: ServerProcess.Starter, redis_server: RedisServer
) -> None:
    old, new = await asyncio.gather(*(start_server(REDIS_URL=redis_server.url) for _ in range(2)))
    async with httpx.AsyncClient() as client:
        session = await open_session(client, old)
        result(await client.post(f"{old.url}/mcp", json=tool_call("increment"), headers=session))
        lost = await client.post(f"{new.url}/mcp", json=tool_call("get_session_state"), headers=session)
    assert lost.status_code == httpx.codes.NOT_FOUND
    assert lost.json()["error"] == {"code": -32600, "message": "Session not found"}


# --- SIGTERM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [FIRST_MODE, *(pytest.param(mode, marks=pytest.mark.e2e) for mode in OTHER_MODES)])
async def test_sigterm_lets_a_call_in_flight_finish_and_exits_with_0(
    mode: str, start_server: ServerProcess.Starter
) -> None:
    server = await start_server(**MODES[mode])
    async with httpx.AsyncClient() as client:
        session = await open_session(client, server)
        call = tool_call("slow", seconds=0.8, steps=4)
        calling = asyncio.ensure_future(client.post(f"{server.url}/mcp", json=call, headers=session))
        assert not (await asyncio.wait({calling}, timeout=0.2))[0]
        server.signal(signal.SIGTERM)
        began = await server.wait_logged("shutdown_started")
        assert not calling.done()
        response = await calling
    assert result(response)["steps"] == 4
    if "event stream" in mode:
        assert len(answers(response)) == 5  # all its progress, too
    assert await server.wait_exited() == 0
    assert (began["signal"], began["calls_in_flight"]) == ("SIGTERM", 1)
    assert await server.wait_logged("tool_call", tool="slow", success=True)
    assert server.log[-1]["event"] == "server_stopped"
    assert server.unreadable == []


@pytest.mark.parametrize(
    "sessions", ["sdk", *(pytest.param(name, marks=pytest.mark.e2e) for name in ("durable", "resilient"))]
)
async def test_sigterm_ends_idle_streams_properly_and_at_once(
    sessions: str, start_server: ServerProcess.Starter, redis_server: RedisServer
) -> None:
    server = await start_server(MCP_SESSIONS=sessions, REDIS_URL=redis_server.url)
    async with httpx.AsyncClient() as client:
        session = await open_session(client, server)
        async with client.stream("GET", f"{server.url}/mcp", headers=session, timeout=30) as stream:
            assert stream.status_code == httpx.codes.OK
            server.signal(signal.SIGTERM)
            received = b"".join([chunk async for chunk in stream.aiter_raw()])  # a cut connection would raise
    assert b"jsonrpc" not in received  # an event without a message at most
    assert await server.wait_exited() == 0
    assert (await server.wait_logged("shutdown_started"))["open_streams"] == 1
    assert (await server.wait_logged("server_stopped"))["drained_s"] < 5  # grace would be 25


@pytest.mark.e2e
async def test_after_the_grace_calls_are_cut_and_it_still_exits_with_0(start_server: ServerProcess.Starter) -> None:
    server = await start_server(SHUTDOWN_GRACE_SECONDS="1", MCP_STATELESS_HTTP="true")
    async with httpx.AsyncClient() as client:
        call = tool_call("slow", seconds=60, steps=600)
        async with client.stream("POST", f"{server.url}/mcp", json=call, headers=ACCEPT) as stream:
            chunks = stream.aiter_raw()
            assert b"progress" in await anext(chunks)
            server.signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in chunks:
                    pass
    assert await server.wait_exited() == 0
    assert 1 <= (await server.wait_logged("server_stopped"))["drained_s"] < 10
    await server.wait_logged("tool_call", tool="slow", success=False, error="cancelled")
    assert server.unreadable == []


@pytest.mark.e2e
@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 1), (signal.SIGTERM, 3), (signal.SIGINT, 1)])
async def test_an_idle_server_stops_with_0_however_often_it_is_told(
    number: signal.Signals, times: int, start_server: ServerProcess.Starter
) -> None:
    server = await start_server()
    for _ in range(times):
        server.signal(number)
    assert await server.wait_exited() == 0
    assert sum(line["event"] == "shutdown_started" for line in server.log) == 1


@pytest.mark.e2e
async def test_a_second_sigint_does_not_wait_for_calls(start_server: ServerProcess.Starter) -> None:
    server = await start_server(MCP_STATELESS_HTTP="true")
    async with httpx.AsyncClient() as client:
        call = tool_call("slow", seconds=60, steps=600)
        async with client.stream("POST", f"{server.url}/mcp", json=call, headers=ACCEPT) as stream:
            assert b"progress" in await anext(stream.aiter_raw())
            server.signal(signal.SIGINT)
            await server.wait_logged("shutdown_started")
            server.signal(signal.SIGINT)
            await server.wait_logged("shutdown_signal_repeated", forced=True)
            assert await server.wait_exited() == 0


# --- start, health check, logs ------------------------------------------------------------------------------


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "server"],
            cwd=REPOSITORY,
            env={"PORT": port},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    line = f"server: cannot listen on HOST=127.0.0.1 PORT={port}: Address already in use\n"
    assert (ended.returncode, ended.stderr) == (1, line)


@pytest.mark.e2e
async def test_the_health_check_command_tells_a_healthy_server_from_none(start_server: ServerProcess.Starter) -> None:
    server = await start_server()
    port = server.url.rpartition(":")[2]
    assert (await asyncio.to_thread(run_healthcheck, port)).returncode == 0
    server.signal(signal.SIGKILL)
    await server.wait_exited()
    gone = await asyncio.to_thread(run_healthcheck, port)
    assert gone.returncode == 1
    assert gone.stderr.startswith("health check failed: ConnectionRefusedError")
    assert (await asyncio.to_thread(run_healthcheck, "x")).returncode == 1


async def test_one_json_line_a_call_without_secrets(
    start_server: ServerProcess.Starter, redis_server: RedisServer
) -> None:
    server = await start_server(REDIS_URL=redis_server.url, MCP_STATELESS_HTTP="true", APP_VERSION="v7")
    async with httpx.AsyncClient() as client:
        session = await open_session(client, server)
        for call in (
            tool_call("increment"),
            tool_call("get_session_state"),
            tool_call("increment", name="word", by="many words"),
        ):
            await client.post(f"{server.url}/mcp", json=call, headers=session)
        await client.post(f"{server.url}/mcp", json=tool_call("get_session_state"), headers=ACCEPT)
    server.signal(signal.SIGTERM)
    assert await server.wait_exited() == 0

    assert server.unreadable == []
    calls = [line for line in server.log if line["event"] == "tool_call"]
    assert [(line["tool"], line["success"]) for line in calls] == [
        ("increment", True),
        ("get_session_state", True),
        ("increment", False),
        ("get_session_state", False),
    ]
    first = calls[0]
    assert set(first) == {"ts", "level", "event", "tool", "session_id", "task_id", "duration_ms", "success"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["ts"])
    assert re.fullmatch(r"[0-9a-f]{12}", first["session_id"])
    assert [line["session_id"] == first["session_id"] for line in calls] == [True, True, True, False]
    assert calls[2]["error"] == "ValidationError"
    assert calls[3]["error"].startswith("this call has no session id")

    started = await server.wait_logged("server_started")
    assert (started["version"], started["stateless_http"]) == ("v7", True)
    assert started["session_store"].startswith("redis://***@127.0.0.1:")
    password = redis_server.url.split(":")[2].partition("@")[0]
    everything = str(server.log)
    assert password not in everything
    assert session["mcp-session-id"] not in everything
    assert "many words" not in everything
