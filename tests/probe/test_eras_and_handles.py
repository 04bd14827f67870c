"""Both eras in one probe, and sessions that are an argument: against the sample server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollproof.core.errors import Permanent
from rollproof.history import HistoryList
from rollproof.probe import Era, Increments, Probe, ProbeOptions, SessionIds, SystemClock, summary
from server.app import create_app
from server.settings import Settings
from tests.probe.fake_mcp import FakeMcp
from tests.probe.replicas import Switch, switched
from tests.probe.running import play

DEADLINE_S = 20.0


def stateless(number: int) -> Any:
    return create_app(Settings(stateless_http=True), task_id=f"task-{number}")


def stateful(number: int) -> Any:
    return create_app(Settings(), task_id=f"task-{number}")


class Run:
    """A probe of a switch, and its records by kind."""

    def __init__(self, switch: Switch, **options: Any) -> None:
        self.history = HistoryList(SystemClock())
        self.stop = asyncio.Event()
        self.probe = Probe(ProbeOptions(switch.url, **{"delay_s": 0.0, **options}), self.history, SystemClock())

    async def to_the_end(self) -> Run:
        async with asyncio.timeout(DEADLINE_S):
            await self.probe.run(self.stop)
        return self

    def records(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        return [
            record
            for record in self.history.records
            if record["kind"] == kind and all(record.get(name) == value for name, value in wanted.items())
        ]


async def test_every_second_session_is_modern() -> None:
    async with switched(stateful, replicas=1) as switch:
        run = await Run(switch, era=Era.BOTH, sessions=4, calls=2, open_streams=True, reinitialise=True).to_the_end()
    assert {record["session"]: record["era"] for record in run.records("call")} == {
        "s1": "legacy",
        "s2": "modern",
        "s3": "legacy",
        "s4": "modern",
    }
    assert summary(run.history.records)["session_complete"]
    assert {record["session"] for record in run.records("session", event="stream_opened")} == {"s1", "s3"}
    assert {r["session"]: r["mcp_session_id_by"] for r in run.records("session", event="opened")} == {
        "s1": "server",
        "s2": "client",
        "s3": "server",
        "s4": "client",
    }


async def test_a_server_of_the_handshake_era_alone_is_told_at_once() -> None:
    async def handshake_era(scope: Any, receive: Any, send: Any) -> None:
        is_modern = any(name == b"mcp-method" for name, _ in scope["headers"])
        if not is_modern:
            await inner(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    inner = create_app(Settings(), task_id="task-0")
    async with switched(lambda _: inner, replicas=1) as switch:
        switch.replace(0, handshake_era)
        with pytest.raises(Permanent, match="no MCP server answers") as caught:
            await Run(switch, era=Era.BOTH, sessions=2, calls=1).to_the_end()
    assert "2026-07-28" in caught.value.hint


@pytest.mark.parametrize("era", [Era.LEGACY, Era.MODERN, Era.BOTH])
async def test_a_handle_goes_as_an_argument_and_no_session_id_is_sent(era: Era) -> None:
    async with switched(stateless, replicas=1) as switch:
        options: dict[str, Any] = {"session_ids": SessionIds.HANDLE, "increments": Increments.KEYED, "slow_every": 1}
        run = await Run(switch, era=era, sessions=2, calls=2, slow_s=0.05, **options).to_the_end()
    found = summary(run.history.records)
    assert (found["error_rows"], found["session_complete"], found["max_state_size"]) == (0, True, 3)
    assert len(run.records("call", tool="create_session")) == 2
    assert switch.session_ids == set()
    assert {record["mcp_session_id_by"] for record in run.records("session", event="opened")} == {"handle"}
    assert {record["delete_status"] for record in run.records("session", event="closed")} == {200}  # end_session


@pytest.mark.parametrize("renews", [False, True])
async def test_an_unknown_handle_is_the_sessions_loss_unless_it_may_begin_anew(renews: bool) -> None:
    options: dict[str, Any] = {"session_ids": SessionIds.HANDLE, "delay_s": 0.005, "reinitialise": renews}
    async with switched(stateless) as switch:
        switch.only = 0
        run = Run(switch, era=Era.MODERN, **options)
        running = asyncio.create_task(run.to_the_end())
        await run.probe.warmed_up(DEADLINE_S)
        switch.only = 1  # a replica that was never told of it
        failed = run.probe.progress.failures
        async with asyncio.timeout(DEADLINE_S):
            while run.probe.progress.failures < failed + (1 if renews else 4):
                await asyncio.sleep(0.001)
            while renews and not run.records("call", new_session=True):
                await asyncio.sleep(0.001)
        run.stop.set()
        await running
    unknown = [r for r in run.records("call") if r["signature"].startswith("tool-error: unknown session")]
    assert len(run.records("call", tool="create_session")) == (2 if renews else 1)
    assert len(run.records("session", event="reinitialised")) == (1 if renews else 0)
    assert len(unknown) == 1 if renews else run.records("call")[-1] in unknown
    assert summary(run.history.records)["session_complete"] is False


async def test_handles_need_a_transport_that_asks_for_no_session() -> None:
    async with switched(stateful, replicas=1) as switch:
        with pytest.raises(Permanent, match="Missing session ID") as caught:
            await Run(switch, session_ids=SessionIds.HANDLE, calls=1).to_the_end()
    assert "is its transport stateless?" in caught.value.hint


async def test_a_modern_slow_call_begins_behind_the_first_operation() -> None:
    """Before its first answer such a client has no cookie: two first calls at once would be sent to two tasks."""
    mcp = FakeMcp(tasks=2, stateless=True)
    mcp.release_slow.set()
    async with play(mcp, era=Era.MODERN, slow_every=1, calls=3) as run:
        await run.to_the_end()
    assert mcp.served[:4] == ["tools/list", "set_session_value", "get_session_state", "slow"]
    assert len({call["task_id"] for call in run.calls()}) == 1
