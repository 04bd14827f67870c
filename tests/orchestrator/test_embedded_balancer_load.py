"""Many at once: idle streams held, and cut together."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.orchestrator.balancers.embedded import BalancerOptions, start_balancer, stop_balancer
from rollproof.testing.balancer_target import TargetServer
from rollproof.testing.balancer_wire import Wire, get

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


@pytest.mark.load
async def test_a_thousand_idle_streams_are_held_and_cut_together(tmp_path: Path) -> None:
    target = TargetServer("a")
    await target.start()
    control = tmp_path / "c.sock"
    client = await start_balancer(BalancerOptions(tmp_path / "access.log", control=control))
    health = await client.health()
    port, process = int(health["listen"].rpartition(":")[2]), psutil.Process(health["pid"])
    row = (RoutableTarget("id-a", target.address, "healthy", new=True, sticky=True),)
    await client.publish(RoutingTable(1, (NodeTable("node-0", row), NodeTable("node-1", row))))
    memory = process.memory_info().rss
    wires: list[Wire] = []
    try:
        for _ in range(STREAMS // 50):
            batch = await asyncio.gather(*(_open_stream(port) for _ in range(50)))
            wires += batch
        assert (await client.counters())["id-a"].outstanding == STREAMS
        assert (process.memory_info().rss - memory) / STREAMS < PER_STREAM_MAX
        async with await Wire.to(port) as wire:
            assert (await wire.ask(get("/hello"))).body == b"a"
        assert await client.cut("id-a") == STREAMS
        assert set(await asyncio.gather(*(wire.until_closed() for wire in wires))) == {b""}
        assert (await client.counters())["id-a"].outstanding == 0
    finally:
        for wire in wires:
            wire.writer.transport.abort()
        await target.stop()
        await stop_balancer(control, grace_s=0.0)


async def _open_stream(port: int) -> Wire:
    wire = await Wire.to(port)
    wire.send(get("/stream"))
    await wire.head()
    assert await wire.chunk() == b"data: 1\n\n"
    return wire
