"""Activities against real servers: one replica, two without stickiness, and servers that get it wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastmcp import Context, FastMCP
from fastmcp.server.event_store import EventStore
from mcp_types import LoggingMessageNotification, LoggingMessageNotificationParams
from starlette.applications import Starlette

from rollproof.history import HistoryList, Record
from rollproof.probe import Activity, Era, Probe, ProbeOptions, SystemClock
from server.app import create_app
from server.settings import Settings
from tests.probe.replicas import Switch, switched

DEADLINE_S = 20.0
BEFORE_THE_CALL = 8  # requests: discovery's four, then initialize, initialized, write and read
MODERN_BEFORE_THE_CALL = 3  # discovery's, then write and read


def sample(**settings: Any) -> Callable[[int], Starlette]:
    return lambda number: create_app(Settings(**settings), task_id=f"task-{number}")


def own(mcp: FastMCP, **options: Any) -> Callable[[int], Starlette]:
    return lambda _number: mcp.http_app(path="/mcp", **options)


async def tried(switch: Switch, *activities: Activity, **options: Any) -> list[Record]:
    """The records of one session that does each once."""
    chosen: dict[str, Any] = {
        "calls": 1,
        "delay_s": 0.0,
        "answer_delay_s": 0.0,
        "activity_timeout_s": 5.0,
        "activity_slow_s": 0.1,
        "reconnect_s": 0.01,
        **options,
    }
    history = HistoryList(SystemClock())
    probe = Probe(ProbeOptions(switch.url, activities=activities, **chosen), history, SystemClock())
    async with asyncio.timeout(DEADLINE_S):
        await probe.run(asyncio.Event())
    return [record for record in history.records if "activity" in record]


def outcomes(records: list[Record]) -> dict[str, str]:
    return {record["activity"]: record["activity_outcome"] for record in records}


LEGACY = {
    "elicitation": "ok",
    "sampling": "ok",
    "roots": "ok",
    "progress": "ok",
    "stream": "ok",
    "resume": "unsupported",
    "delete": "ok",
    "tasks": "unsupported",
}
MODERN = LEGACY | {"stream": "unsupported", "delete": "unsupported"}
STATELESS = LEGACY | dict.fromkeys(("elicitation", "sampling", "roots", "stream", "delete"), "unsupported")


@pytest.mark.parametrize(
    ("era", "is_stateless", "expected"),
    [(Era.LEGACY, False, LEGACY), (Era.MODERN, False, MODERN), (Era.LEGACY, True, STATELESS)],
)
async def test_one_replica_does_what_its_protocol_has(era: Era, is_stateless: bool, expected: dict[str, str]) -> None:
    async with switched(sample(stateless_http=is_stateless), replicas=1) as switch:
        records = await tried(switch, *Activity, era=era)
    assert outcomes(records) == expected
    assert [r["progress"] for r in records if r["activity"] == "progress"] == [4]
    assert all(("error" in record) is (record["activity_outcome"] != "ok") for record in records)


@pytest.mark.parametrize("activity", [Activity.ELICITATION, Activity.SAMPLING, Activity.ROOTS])
async def test_an_answer_that_reaches_another_replica_is_refused(activity: Activity) -> None:
    async with switched(sample()) as switch:
        switch.turns.extend([0] * (BEFORE_THE_CALL + 1) + [1])
        (record,) = await tried(switch, activity)
    assert (record["activity_outcome"], record["signature"]) == ("reply-refused", "404/-32600 Session not found")
    assert switch.served[BEFORE_THE_CALL : BEFORE_THE_CALL + 2] == [("POST", 0), ("POST", 1)]
    assert record["latency_s"] < 5.0  # it was not waited for an answer that cannot come


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("k" * 32, ("ok", "ok")),
        (None, ("reply-refused", "400/-32602 Invalid or expired requestState")),
    ],
)
async def test_a_modern_answer_needs_the_same_key_on_every_replica(key: str | None, expected: tuple[str, str]) -> None:
    async with switched(sample(request_state_key=key)) as switch:
        switch.turns.extend([0] * (MODERN_BEFORE_THE_CALL + 1) + [1])
        (record,) = await tried(switch, Activity.ELICITATION, era=Era.MODERN)
    assert (record["activity_outcome"], record["signature"]) == expected


def slow_server() -> FastMCP:
    mcp = FastMCP("slow")

    @mcp.tool
    async def slow(seconds: float, steps: int, ctx: Context) -> dict[str, int]:
        for step in range(1, steps + 1):
            await asyncio.sleep(seconds / steps)
            await ctx.report_progress(step, steps)
        return {"steps": steps}

    return mcp


@pytest.mark.parametrize(
    ("resumed_at", "expected"), [(0, ("ok", "ok")), (1, ("failed", "404/-32600 Session not found"))]
)
async def test_a_broken_call_is_taken_up_where_its_events_are(resumed_at: int, expected: tuple[str, str]) -> None:
    make = own(slow_server(), event_store=EventStore())
    async with switched(make) as switch:
        switch.turns.extend([0] * BEFORE_THE_CALL + [resumed_at] * 4)  # the ping plan has one call before it
        (record,) = await tried(switch, Activity.RESUME)
    assert (record["activity_outcome"], record["signature"]) == expected
    assert ("GET", resumed_at) in switch.served


def announcer(times: int) -> FastMCP:
    mcp = FastMCP("announcer")

    @mcp.tool
    async def announce(text: str, ctx: Context) -> str:
        for _ in range(times):
            params = LoggingMessageNotificationParams(level="info", data={"text": text})
            await ctx.session.send_notification(LoggingMessageNotification(params=params))
        return "announced"

    @mcp.tool
    async def confirm(question: str) -> str:
        await asyncio.Event().wait()
        return question

    return mcp


@pytest.mark.parametrize(("times", "outcome"), [(1, "ok"), (2, "doubled")])
async def test_an_announcement_is_counted_on_the_sessions_stream(times: int, outcome: str) -> None:
    async with switched(own(announcer(times)), replicas=1) as switch:
        (record,) = await tried(switch, Activity.STREAM)
    assert record["activity_outcome"] == outcome


async def test_an_announcement_that_never_comes_is_missing() -> None:
    async with switched(own(announcer(0)), replicas=1) as switch:
        (record,) = await tried(switch, Activity.STREAM, notice_within_s=0.1)
    assert record["activity_outcome"] == "missing"


async def test_a_question_that_never_comes_is_a_hang() -> None:
    async with switched(own(announcer(1)), replicas=1) as switch:
        (record,) = await tried(switch, Activity.ELICITATION, activity_timeout_s=0.15)
    assert (record["activity_outcome"], record["signature"]) == ("hang", "timeout")


async def test_what_the_server_has_no_tool_for_is_not_tried() -> None:
    async with switched(own(announcer(1)), replicas=1) as switch:
        assert await tried(switch, Activity.SAMPLING, Activity.TASKS) == []
