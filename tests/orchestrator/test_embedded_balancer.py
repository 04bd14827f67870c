"""The embedded balancer keeps the contract of every data plane, in both event loops it may run in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancer,
    EmbeddedBalancerClient,
    serve,
)
from rollproof.testing.balancer_contract import BalancerContract
from rollproof.testing.balancer_target import DEADLINE_S


@dataclass(frozen=True)
class InProcessStage:
    balancer: EmbeddedBalancerClient
    port: int

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.balancer.exchange(method, path, body)


Faults = list[dict[str, Any]]
"""What callbacks of the balancer's event loop raised."""


async def _run(options: BalancerOptions, faults: Faults, up: Future[EmbeddedBalancer]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serve(options) as balancer:
        up.set_result(balancer)
        await balancer.stop_requested.wait()


@asynccontextmanager
async def in_uvloop(options: BalancerOptions, faults: Faults) -> AsyncIterator[int]:
    """Serve in a thread of its own, in uvloop; yields the port."""
    uvloop = pytest.importorskip("uvloop")
    up: Future[EmbeddedBalancer] = Future()
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(_run(options, faults, up),))
    thread.start()
    balancer = up.result(DEADLINE_S)
    yield balancer.port
    loop.call_soon_threadsafe(balancer.request_stop, 0.0)
    await asyncio.to_thread(thread.join, DEADLINE_S)
    assert not thread.is_alive()
    loop.close()


@asynccontextmanager
async def in_asyncio(options: BalancerOptions, faults: Faults) -> AsyncIterator[int]:
    """Serve in the test's own loop; yields the port."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serve(options) as balancer:
        yield balancer.port


class TestEmbeddedBalancerKeepsTheContract(BalancerContract):
    @pytest.fixture(params=[in_uvloop, in_asyncio], ids=["uvloop", "asyncio"])
    async def stage(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[InProcessStage]:
        options = BalancerOptions(access_log=tmp_path / "access.log", control=tmp_path / "c.sock")
        faults: Faults = []
        async with request.param(options, faults) as port:
            yield InProcessStage(EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log), port)
        assert faults == []
