"""Helpers to run a probe in a test: against a fake server, with its records at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

from rollproof.history import HistoryList, Record
from rollproof.probe import Probe, ProbeOptions, SystemClock
from tests.probe.fake_mcp import FakeMcp
from tests.probe.loopback import Loopback

DEADLINE_S = 10.0


class Play:
    """A running probe, its server and its records."""

    def __init__(self, mcp: FakeMcp, server: Loopback, **options: Any) -> None:
        self.mcp = mcp
        self.server = server
        self.history = HistoryList(SystemClock())
        self.stop = asyncio.Event()
        ids = count(1)
        self.probe = Probe(
            ProbeOptions(server.url, **{"delay_s": 0.001, "request_timeout_s": 5.0, "slow_s": 1.0, **options}),
            self.history,
            SystemClock(),
            random=Random(1),
            new_id=lambda: f"client-{next(ids)}",
        )

    def records(self, kind: str, **wanted: Any) -> list[Record]:
        return [
            record
            for record in self.history.records
            if record["kind"] == kind and all(record.get(name) == value for name, value in wanted.items())
        ]

    def calls(self, **wanted: Any) -> list[Record]:
        return self.records("call", **wanted)

    def shown(self, **wanted: Any) -> list[str]:
        """Calls as text, in order: number, tool, signature."""
        return [f"{call['call_number']} {call['tool']} {call['signature']}" for call in self.calls(**wanted)]

    async def to_the_end(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.probe.run(self.stop)

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """The probe runs inside the block and is told to stop at its end."""
        run = asyncio.create_task(self.probe.run(self.stop))
        try:
            yield
            self.stop.set()
            async with asyncio.timeout(DEADLINE_S):
                await run
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # facts of a probe, its server and its records; none has an event
                await asyncio.sleep(0.001)


@asynccontextmanager
async def play(mcp: FakeMcp, **options: Any) -> AsyncIterator[Play]:
    async with Loopback(mcp) as server:
        yield Play(mcp, server, **options)
