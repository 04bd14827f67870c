"""Many at once: idle streams held, and cut together."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.orchestrator.ports import Balancer
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Wire, get
from tests.load import subjects
from tests.load.subjects import Running
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

STREAMS = 1000
PER_STREAM_MAX = 64 * 1024
"""Bytes of the balancer's memory for a stream that says nothing."""


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """A stream takes two files of this process: its client's and its target's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = STREAMS * 2 + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def target() -> AsyncIterator[TargetServer]:
    server = TargetServer("a")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["embedded", pytest.param("nginx", marks=NEEDS_NGINX)])
async def running(request: pytest.FixtureRequest, tmp_path: Path, target: TargetServer) -> AsyncIterator[Running]:
    made = subjects.embedded(tmp_path) if request.param == "embedded" else subjects.nginx(tmp_path, [target.address])
    async with made as running:
        yield running


@pytest.mark.load
async def test_a_thousand_idle_streams_are_held_and_cut_together(running: Running, target: TargetServer) -> None:
    client = running.client
    row = (RoutableTarget("id-a", target.address, "healthy", new=True, sticky=True),)
    await client.publish(RoutingTable(1, (NodeTable("node-0", row), NodeTable("node-1", row))))
    before = memory(running)
    wires: list[Wire] = []
    try:
        for _ in range(STREAMS // 50):
            batch = await asyncio.gather(*(_open_stream(running.port) for _ in range(50)))
            wires += batch
        assert await outstanding(client) == STREAMS
        assert (memory(running) - before) / STREAMS < PER_STREAM_MAX
        async with await Wire.to(running.port) as wire:
            assert (await wire.ask(get("/hello"))).body == b"a"
        assert await client.cut("id-a") == STREAMS
        assert set(await asyncio.gather(*(wire.until_closed() for wire in wires))) == {b""}
        async with asyncio.timeout(DEADLINE_S):
            while await outstanding(client):
                await asyncio.sleep(0.01)
    finally:
        for wire in wires:
            wire.writer.transport.abort()


def memory(running: Running) -> int:
    root = psutil.Process(running.root)
    return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])


async def outstanding(balancer: Balancer) -> int:
    return (await balancer.counters())["id-a"].outstanding


async def _open_stream(port: int) -> Wire:
    wire = await Wire.to(port)
    wire.send(get("/stream"))
    await wire.head()
    assert await wire.chunk() == b"data: 1\n\n"
    return wire
