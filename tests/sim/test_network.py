"""Connections in memory behave as TCP's do: in order, with an end, with backpressure, refused where nobody listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from rollproof.sim.network import LATENCY_S, Network
from rollproof.sim.network import Path as Way
from rollproof.sim.process import SimProcess
from tests.sim.conftest import Play

Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOCAL = ("127.0.0.1", 9000)


def network() -> Network:
    return asyncio.get_running_loop().network  # type: ignore[attr-defined, no-any-return]


async def listening(handle: Streams) -> asyncio.AbstractServer:
    return await asyncio.start_server(handle, *LOCAL)


OPEN: list[asyncio.StreamWriter] = []
"""A writer that is forgotten while it is open is warned of, also by real loops."""


async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*LOCAL)
    OPEN.append(writer)
    return reader, writer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_bytes_come_back_in_order_two_latencies_later(play: Play) -> None:
    async def main() -> tuple[bytes, float]:
        await listening(echo)
        reader, writer = await connected()
        began = asyncio.get_running_loop().time()
        for part in (b"one ", b"two ", b"three"):
            writer.write(part)
        got = await reader.readexactly(13)
        return got, asyncio.get_running_loop().time() - began

    got, took_s = play(main())
    assert got == b"one two three"
    assert took_s == pytest.approx(2 * LATENCY_S, abs=1e-6)


def test_the_end_arrives_after_everything_that_was_written(play: Play) -> None:
    async def send_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 300_000)
        writer.close()

    async def main() -> int:
        await listening(send_and_close)
        reader, _ = await connected()
        return len(await reader.read())

    assert play(main()) == 300_000


def test_half_closed_the_other_direction_still_works(play: Play) -> None:
    async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got %d" % len(await reader.read()))
        writer.close()

    async def main() -> bytes:
        await listening(answer_at_end)
        reader, writer = await connected()
        writer.write(b"12345")
        writer.write_eof()
        return await reader.read()

    assert play(main()) == b"got 5"


def test_nobody_listens_refused(play: Play) -> None:
    async def main() -> None:
        await connected()

    with pytest.raises(ConnectionRefusedError):
        play(main())


def test_a_taken_port_is_refused_and_free_again_after_close(play: Play) -> None:
    async def main() -> None:
        server = await listening(echo)
        with pytest.raises(OSError, match="in use"):
            await listening(echo)
        server.close()
        await listening(echo)

    play(main())


@pytest.mark.parametrize("host", ["example.com", "93.184.215.14"])
def test_there_is_no_world_outside(host: str, play: Play) -> None:
    async def main() -> None:
        await asyncio.open_connection(host, 80)

    with pytest.raises(OSError, match=r"no such host|refused"):
        play(main())


def test_a_reset_is_an_error_on_the_other_side(play: Play) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def main() -> bytes:
        await listening(reset)
        reader, _ = await connected()
        return await reader.read()

    with pytest.raises(ConnectionResetError):
        play(main())


def test_a_writer_waits_for_a_reader_who_does_not_read(play: Play) -> None:
    async def main() -> tuple[bool, int]:
        received: list[int] = []
        may_read = asyncio.Event()

        async def read_late(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await may_read.wait()
            while data := await reader.read(65536):
                received.append(len(data))

        await listening(read_late)
        _, writer = await connected()
        writer.write(b"x" * 4_000_000)
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(1)
        was_held = not draining.done()
        may_read.set()
        await draining
        writer.close()
        await asyncio.sleep(1)
        return was_held, sum(received)

    assert play(main()) == (True, 4_000_000)


def test_a_cut_path_holds_everything_back_and_what_was_sent_arrives_when_it_heals(play: Play) -> None:
    async def main() -> tuple[bool, bytes, float]:
        await listening(echo)
        reader, writer = await connected()
        network().rules["cut"] = lambda _from, _to, way: replace(way, is_cut=True)
        writer.write(b"through?")
        reading = asyncio.create_task(reader.readexactly(8))
        connecting = asyncio.create_task(connected())
        await asyncio.sleep(30)
        was_held = not reading.done() and not connecting.done()
        del network().rules["cut"]
        network().refresh()
        healed_at = asyncio.get_running_loop().time()
        got = await reading
        await connecting
        return was_held, got, asyncio.get_running_loop().time() - healed_at

    was_held, got, after_s = play(main())
    assert (was_held, got) == (True, b"through?")
    assert after_s < 1.1  # the next SYN


def test_a_longer_way_takes_longer(play: Play) -> None:
    async def main() -> float:
        await listening(echo)
        network().rules["far"] = lambda _from, _to, way: Way(way.latency_s + 0.1)
        reader, writer = await connected()
        began = asyncio.get_running_loop().time()
        writer.write(b"x")
        await reader.readexactly(1)
        return asyncio.get_running_loop().time() - began

    assert play(main()) == pytest.approx(0.2, abs=0.01)


# --- with real servers and clients -----------------------------------------------------------------------


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"%d;" % number, "more_body": True})
        await asyncio.sleep(10)
    await send({"type": "http.response.body", "body": b"end"})


def serve(process: SimProcess) -> Any:
    async def run(_: SimProcess) -> int:
        await uvicorn.Server(uvicorn.Config(app, port=8000, log_config=None, lifespan="off")).serve()
        return 0

    process.start(run)


def a_process(tmp_path: Path, exits: list[int], host: str = "10.0.0.9") -> SimProcess:
    return SimProcess("task", host, {}, network(), tmp_path / "task.log", exits.append)


def test_a_response_streams_through_uvicorn_and_httpx_as_it_is_made(tmp_path: Path, play: Play) -> None:
    async def main() -> tuple[list[tuple[int, bytes]], int]:
        serve(a_process(tmp_path, []))
        await asyncio.sleep(1)
        began, parts = asyncio.get_running_loop().time(), []
        async with httpx.AsyncClient(trust_env=False) as client:
            async with client.stream("GET", "http://10.0.0.9:8000/", timeout=60) as response:
                async for chunk in response.aiter_bytes():
                    parts.append((round(asyncio.get_running_loop().time() - began), chunk))
            await client.get("http://10.0.0.9:8000/", timeout=60)
            pool: Any = client._transport
            return parts, len(pool._pool.connections)

    parts, connections = play(main())
    assert parts == [(0, b"0;"), (10, b"1;"), (20, b"2;"), (30, b"end")]
    assert connections == 1  # kept alive, and used again


def test_sigterm_lets_a_server_finish_and_a_kill_does_not(tmp_path: Path, play: Play) -> None:
    async def main() -> dict[str, tuple[str, list[int]]]:
        outcomes = {}
        for number, name in ((15, "SIGTERM"), (9, "SIGKILL")):
            exits: list[int] = []
            process = a_process(tmp_path, exits, f"10.0.0.{number}")
            serve(process)
            await asyncio.sleep(1)
            async with httpx.AsyncClient(trust_env=False) as client:
                getting = asyncio.create_task(client.get(f"http://10.0.0.{number}:8000/", timeout=60))
                await asyncio.sleep(5)
                process.send_signal(number)
                try:
                    outcome = (await getting).text
                except httpx.TransportError as error:
                    outcome = type(error).__name__
            await asyncio.sleep(1)
            outcomes[name] = outcome, exits
        return outcomes

    outcomes = play(main())
    assert outcomes["SIGTERM"] == ("0;1;2;end", [143])  # uvicorn raises the signal again when it has finished
    assert outcomes["SIGKILL"] == ("RemoteProtocolError", [137])


def test_a_frozen_process_answers_when_it_thaws(tmp_path: Path, play: Play) -> None:
    async def main() -> float:
        process = a_process(tmp_path, [])
        serve(process)
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        process.send_signal(19)
        loop.call_later(100, process.send_signal, 18)
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("GET", "http://10.0.0.9:8000/", timeout=None),
        ):
            return loop.time() - began

    assert play(main()) == pytest.approx(100, abs=0.1)


def test_names_are_resolved_inside_only(play: Play) -> None:
    async def main() -> Any:
        await listening(echo)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.0.0.1", 9000)
        with pytest.raises(socket.gaierror, match="no such host"):
            await loop.getaddrinfo("redis.internal", 6379)
        return found[0][4]

    assert play(main()) == LOCAL
