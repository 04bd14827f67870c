"""Sessions on a stage: begun, warmed up, measured; the stage is a fake MCP server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rollproof.core.errors import Permanent, Temporary
from rollproof.history import HistoryList, Record
from rollproof.matrix.costs import costs_of
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.stage import Stage, Usage
from rollproof.probe import Increments, ProbeOptions
from rollproof.probing import measure, probing, together, warm_up
from tests.probe.fake_mcp import FakeMcp
from tests.probe.loopback import Loopback

OPTIONS = ProbeOptions("http://localhost/mcp", sessions=2, delay_s=0.01, increments=Increments.KEYED)


class Fake(SimpleNamespace):
    """A stage that uses one Redis command and 2 ms a call, and as much again a second by itself."""

    def __init__(self, endpoint: str, mcp: FakeMcp) -> None:
        self.clock, self.endpoint, self.mcp = StageClock(), endpoint, mcp
        self.history = HistoryList(self.clock)
        self.running: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def usage(self) -> Usage:
        calls = len(self.mcp.served)
        return Usage({"evalsha": calls}, {"task1": 0.002 * calls})


@asynccontextmanager
async def a_stage(mcp: FakeMcp) -> AsyncIterator[tuple[Stage, list[Record]]]:
    async with Loopback(mcp) as server:
        made = Fake(server.url.removesuffix("/mcp"), mcp)
        yield cast("Stage", made), made.history.records


async def test_warmed_up_is_every_session_having_called_well() -> None:
    async with a_stage(FakeMcp()) as (stage, records), probing(stage, OPTIONS, "/mcp", 1) as probe:
        assert await warm_up(stage, probe)
    assert {x["session"] for x in records if x["kind"] == "call"} == {"s1", "s2"}
    assert [x["name"] for x in records if x["kind"] == "mark"] == ["warmed-up", "probe-ended"]


async def test_sessions_that_never_call_well_are_not_waited_for_where_that_is_not_needed() -> None:
    """As with state that is another one at each call."""
    mcp = FakeMcp(stateless=True)
    mcp.store = _Forgetful()  # type: ignore[assignment]
    async with a_stage(mcp) as (stage, _), probing(stage, OPTIONS, "/mcp", 1) as probe:
        assert not await warm_up(stage, probe, is_needed=False)
        assert probe.progress.failures >= 2


async def test_costs_are_those_of_calls_that_are_not_in_the_history() -> None:
    async with a_stage(FakeMcp()) as (stage, records):
        await measure(stage, OPTIONS, "/mcp", 1, 0.5)
    assert [(x["kind"], x["phase"], x["event"]) for x in records] == [
        ("usage", "idle", "begin"),
        ("usage", "idle", "end"),
        ("usage", "calls", "begin"),
        ("usage", "calls", "end"),
    ]
    found = costs_of(records)
    assert found is not None
    assert found.calls == len(records[-1]["latencies_s"]) >= 2
    assert found.redis_commands == pytest.approx(1.0, abs=0.5)  # a call may be under way at either end
    assert found.cpu_ms == pytest.approx(2.0, abs=1.0)


async def test_what_is_waited_for_ends_with_the_stage() -> None:
    async with a_stage(FakeMcp()) as (stage, _):
        cast("Any", stage.running).set_exception(Permanent("the port is gone"))
        with pytest.raises(Permanent, match="the port is gone"):
            await together(stage, asyncio.Event().wait())
    async with a_stage(FakeMcp()) as (stage, _):
        cast("Any", stage.running).set_result(None)
        with pytest.raises(Temporary, match="ended by itself"):
            await together(stage, asyncio.Event().wait())


class _Forgetful(dict[str, dict[str, Any]]):
    """Another, empty state at each look."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}
