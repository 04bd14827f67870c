"""The health checker against real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rollproof.core.events import HealthCheckAnswered
from rollproof.core.settings import HealthCheck
from rollproof.orchestrator.health_checker import HealthChecker

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

CHECK = HealthCheck(path="/health", timeout_s=5.0)
IMPATIENT = HealthCheck(path="/health", timeout_s=0.05)


@asynccontextmanager
async def target(handler: Handler) -> AsyncIterator[str]:
    """A server with that handler; its address."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def answering(*pieces: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return handle


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def ask(address: str, check: HealthCheck = CHECK) -> HealthCheckAnswered:
    return await HealthChecker().check("node-0", "t-1", address, check)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.0 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 204\r\n\r\n", 204),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 503),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", 302),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, 200),
    ],
)
async def test_the_status_is_the_answer(answer: bytes, status: int) -> None:
    async with target(answering(answer)) as address:
        assert await ask(address) == HealthCheckAnswered("node-0", "t-1", status)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 999 What\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
)
async def test_what_is_not_http_is_a_failed_connection(answer: bytes) -> None:
    async with target(answering(answer)) as address:
        assert await ask(address) == HealthCheckAnswered("node-0", "t-1", None, "connection")


@pytest.mark.fidelity("ALB-HEALTH-6", source="API-ELB TargetHealth", mark="doc")
async def test_a_refused_connection_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    assert await ask(address) == HealthCheckAnswered("node-0", "t-1", None, "connection")


async def test_a_reset_is_a_failed_connection() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )  # close() now sends RST

    async with target(reset) as address:
        assert await ask(address) == HealthCheckAnswered("node-0", "t-1", None, "connection")


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:", "127.0.0.1:99999999", "::::"])
async def test_an_address_that_is_none_is_a_failed_connection(address: str) -> None:
    assert (await ask(address)).failure == "connection"


@pytest.mark.fidelity("ALB-HEALTH-5", source="API-ELB TargetHealth", mark="doc")
async def test_no_answer_in_time_is_a_timeout() -> None:
    async with target(hang) as address:
        assert await ask(address, IMPATIENT) == HealthCheckAnswered("node-0", "t-1", None, "timeout")


async def test_half_an_answer_in_time_is_a_timeout() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await hang(reader, writer)

    async with target(half) as address:
        assert await ask(address, IMPATIENT) == HealthCheckAnswered("node-0", "t-1", None, "timeout")


async def test_an_endless_body_does_not_spoil_a_status() -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
        await hang(reader, writer)

    async with target(stream) as address:
        assert (await ask(address)).status == 200


@pytest.mark.fidelity("ALB-HEALTH-23", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
@pytest.mark.parametrize(
    ("path", "target_line"),
    [
        ("/health?deep=1", b"GET /health?deep=1 HTTP/1.1"),
        ("", b"GET / HTTP/1.1"),
        ("/a b\r\nX: y", b"GET /a%20b%0D%0AX:%20y HTTP/1.1"),
    ],
)
async def test_the_request_is_the_albs(path: str, target_line: bytes) -> None:
    seen: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend((await reader.readuntil(b"\r\n\r\n")).splitlines())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async with target(note) as address:
        assert (await ask(address, HealthCheck(path=path))).status == 200
    assert seen[0] == target_line
    assert {b"Host: " + address.encode(), b"User-Agent: ELB-HealthChecker/2.0", b"Connection: close"} <= set(seen)


@pytest.mark.fidelity("ALB-HEALTH-20", source="ALB-UG/target-group-health-checks", mark="doc")
async def test_every_check_has_a_connection_of_its_own_and_closes_it() -> None:
    peers: list[object] = []
    closed = asyncio.Event()

    async def keep_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        if len(peers) == 2:
            closed.set()

    async with target(keep_open) as address:
        assert [(await ask(address)).status for _ in range(2)] == [200, 200]
        await asyncio.wait_for(closed.wait(), 5)
    assert len(set(peers)) == 2


@pytest.mark.fidelity("ALB-HEALTH-22", source="ALB-UG/target-group-health-checks", mark="doc")
async def test_a_hanging_target_delays_no_other() -> None:
    async with target(hang) as hanging, target(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as healthy:
        slow = asyncio.create_task(ask(hanging, HealthCheck(timeout_s=30)))
        assert (await ask(healthy)).status == 200
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
