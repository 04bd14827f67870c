"""The embedded balancer, in this process: the contract of every data plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollproof.orchestrator.balancers.embedded import BalancerOptions, EmbeddedBalancerClient, serve
from rollproof.testing.balancer_contract import BalancerContract


@dataclass(frozen=True)
class InProcessStage:
    balancer: EmbeddedBalancerClient
    port: int

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.balancer.exchange(method, path, body)


class TestEmbeddedBalancerKeepsTheContract(BalancerContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[InProcessStage]:
        options = BalancerOptions(access_log=tmp_path / "access.log", control=tmp_path / "c.sock")
        faults: list[dict[str, Any]] = []  # what a callback of the event loop raised
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with serve(options) as balancer:
            yield InProcessStage(EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log), balancer.port)
        assert faults == []
