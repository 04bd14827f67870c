"""The Balancer port for a simulation: the embedded balancer's data plane itself, on the simulation's network."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO

from rollproof.core.access_log import AccessLogEntry, parse_line
from rollproof.core.routing_table import RoutingTable
from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
from rollproof.orchestrator.balancers.embedded.clock import PlaneClock
from rollproof.orchestrator.balancers.embedded.cookies import KEY_SIZE, Seal
from rollproof.orchestrator.balancers.embedded.log_writer import Loggable
from rollproof.orchestrator.balancers.embedded.plane import DataPlane
from rollproof.orchestrator.ports import TargetCounters
from rollproof.sim.loop import BEGINS_AT_S, VirtualLoop
from rollproof.sim.virtual import EPOCH_S

HOST, PORT = "127.0.0.1", 80


class SimBalancer:
    """Listens on HOST:PORT from `start` on. `access_log`: the file that its log goes to."""

    endpoint = f"http://{HOST}:{PORT}"

    def __init__(self, loop: VirtualLoop, seed: int, access_log: Path) -> None:
        self._loop = loop
        self._log = _Log(access_log)
        clock = PlaneClock(loop.time, lambda: EPOCH_S + loop.time() - BEGINS_AT_S)
        self.plane = DataPlane(self._log, Seal(os.urandom(KEY_SIZE)), chance=random.Random(f"lb {seed}"), clock=clock)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._loop.create_server(lambda: ClientConnection(self.plane), HOST, PORT)
        self._sweeper = self._loop.create_task(self._sweep(), name="balancer")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.plane.sweep_interval_s)
            self.plane.sweep()

    async def publish(self, table: RoutingTable) -> None:
        self.plane.publish(table)

    async def cut(self, target_id: str) -> int:
        return self.plane.cut(target_id)

    async def counters(self) -> Mapping[str, TargetCounters]:
        return {target_id: TargetCounters(**stats.to_json()) for target_id, stats in self.plane.targets.items()}

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        while True:
            self._log.written.clear()
            while offset < len(self._log.lines):
                offset += 1
                yield offset, parse_line(self._log.lines[offset - 1])
            await self._log.written.wait()

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.plane.close_all()
        self._log.close()


class _Log:
    """Every line at once, in memory and in the file. Offsets count lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines: list[str] = []
        self.written = asyncio.Event()
        self._file: IO[str] = path.open("w", encoding="latin-1", errors="replace")

    def write(self, entry: Loggable) -> None:
        line = entry.log_line()
        self.lines.append(line)
        self._file.write(line + "\n")
        self.written.set()

    def close(self) -> None:
        self._file.close()
