"""The whole probe against a fake server on loopback: opening, ending, what it counts and what it leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.probe import CookieMode, Era, Increments, SessionIds, summary
from tests.probe.fake_mcp import FakeMcp, bad_gateway
from tests.probe.running import play


async def test_one_session_is_the_published_experiments_client() -> None:
    async with play(FakeMcp(), calls=70, delay_s=0.0) as run:
        await run.to_the_end()
    assert run.shown()[:3] == ["0 initialize ok", "1 set_session_value ok", "1 get_session_state ok"]
    assert summary(run.history.records) == {
        "http_status_counts": {"200": 141},
        "unique_task_ids": ["task1"],
        "first_task_id": "task1",
        "last_task_id": "task1",
        "max_state_size": 70,
        "session_not_found_count": 0,
        "error_rows": 0,
        "session_complete": True,
    }


async def test_every_kind_of_call_from_many_sessions() -> None:
    mcp = FakeMcp(tasks=2)
    mcp.has_stream = True
    mcp.release_slow.set()
    options = {"increments": Increments.KEYED, "slow_every": 2, "open_streams": True}
    async with play(mcp, sessions=5, calls=3, **options) as run:
        await run.to_the_end()
        await run.until(lambda: run.server.connections == 0)
    assert not [call for call in run.calls() if not call["ok"]]
    assert {record["session"] for record in run.calls(tool="increment")} == {"s1", "s2", "s3", "s4", "s5"}
    assert {record["session"] for record in run.calls(tool="slow", progress=1)} == {"s1", "s3", "s5"}
    assert {record["event"] for record in run.records("session", session="s4")} >= {
        "opened",
        "stream_opened",
        "stream_ended",
        "closed",
    }
    assert len(mcp.deleted) == 1 + 5  # the discovery's session, and each of the probe's
    assert [mark["name"] for mark in run.records("mark")] == ["warmed-up", "probe-ended"]
    assert (run.probe.progress.calls, run.probe.progress.failures) == (len(run.calls()), 0)
    assert run.probe.progress.alive == 5


async def test_stop_finishes_the_operation_and_reads_once_more() -> None:
    async with play(FakeMcp(), delay_s=60.0) as run, run.under_way():
        await run.until(lambda: bool(run.calls(tool="set_session_value")))
    assert run.shown()[1:] == ["1 set_session_value ok", "1 get_session_state ok", "1 get_session_state ok"]
    assert [call.get("final") for call in run.calls()][-2:] == [None, True]
    (closed,) = run.records("session", event="closed")
    assert (closed["reason"], closed["delete_status"]) == ("stopped", 200)


async def test_cancelling_leaves_nothing_behind() -> None:
    mcp = FakeMcp()
    mcp.has_stream = True
    async with play(mcp, sessions=4, slow_every=1, open_streams=True) as run:
        task = asyncio.create_task(run.probe.run(run.stop))
        await run.until(lambda: run.probe.progress.warmed_up == 4 and mcp.slow_begun.is_set())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await run.until(lambda: run.server.connections == 0)
        assert not [task for task in asyncio.all_tasks() if "/rollproof/" in repr(task) or "httpc" in repr(task)]


async def test_warmed_up_waits_for_every_sessions_first_pair() -> None:
    async with play(FakeMcp(), sessions=3) as run, run.under_way():
        await run.probe.warmed_up(within_s=10)
        assert {call["session"] for call in run.calls(tool="get_session_state", ok=True)} == {"s1", "s2", "s3"}


async def test_warmed_up_says_what_keeps_it() -> None:
    mcp = FakeMcp()
    mcp.fail_next("set_session_value", *[bad_gateway] * 10_000)
    async with play(mcp) as run, run.under_way():
        await run.until(lambda: run.probe.progress.failures > 0)
        with pytest.raises(Temporary, match=r"0 of 1 sessions .* within 0\.01 s; the last failure was 502"):
            await run.probe.warmed_up(within_s=0.01)


async def test_warmed_up_does_not_wait_for_a_probe_that_ended() -> None:
    mcp = FakeMcp()
    mcp.fail_next("set_session_value", bad_gateway)
    async with play(mcp, calls=1) as run:
        await run.to_the_end()
        with pytest.raises(Temporary, match="before the probe ended"):
            await run.probe.warmed_up()


async def test_nothing_answers_at_all() -> None:
    async with play(FakeMcp(), start_timeout_s=0.3) as run:
        pass  # the server is gone
    with pytest.raises(Temporary, match=r"no MCP server answers at .*connect-error"):
        await run.to_the_end()


async def test_a_server_that_needs_a_moment_is_waited_for() -> None:
    mcp = FakeMcp()
    mcp.fail_next("initialize", bad_gateway)
    async with play(mcp, calls=1) as run:
        await run.to_the_end()
    assert not [call for call in run.calls() if not call["ok"]]


@pytest.mark.parametrize(("status", "hint"), [(401, "headers"), (404, "path"), (405, "Streamable HTTP")])
async def test_a_refusal_is_told_at_once(status: int, hint: str) -> None:
    mcp = FakeMcp()
    mcp.fail_next("initialize", *[lambda _mcp, _request, reply: reply.body(status)] * 100)
    async with play(mcp, start_timeout_s=0.3) as run:
        with pytest.raises(Permanent) as caught:
            await run.to_the_end()
    assert hint in caught.value.hint


async def test_stop_while_nothing_answers_yet() -> None:
    mcp = FakeMcp()
    mcp.fail_next("initialize", *[bad_gateway] * 10_000)
    async with play(mcp) as run, run.under_way():
        await run.until(lambda: bool(mcp.served))
    assert run.history.records == []


async def test_a_server_without_the_samples_tools_is_pinged() -> None:
    mcp = FakeMcp()
    mcp.tools = [{"name": "weather", "inputSchema": {}}]
    async with play(mcp, calls=2) as run:
        await run.to_the_end()
    assert run.shown() == ["0 initialize ok", "1 tools/list ok", "2 tools/list ok"]
    (missing,) = run.records("setting", name="probe.missing_tools")
    assert missing["value"] == ["set_session_value", "get_session_state"]


async def test_a_tool_that_is_not_there_is_the_users_error() -> None:
    async with play(FakeMcp(), tool="weather") as run:
        with pytest.raises(UsageError, match="no tool 'weather'"):
            await run.to_the_end()


@pytest.mark.parametrize(
    ("stateless", "policy", "whose", "sent"),
    [
        (False, SessionIds.AUTO, "server", "issued-"),
        (True, SessionIds.AUTO, "client", "client-2"),
        (True, SessionIds.CLIENT, "client", "client-2"),
        (True, SessionIds.SERVER, None, ""),
    ],
)
async def test_whose_session_id_is_sent(stateless: bool, policy: SessionIds, whose: str | None, sent: str) -> None:
    async with play(FakeMcp(stateless=stateless), calls=1, session_ids=policy) as run:
        await run.to_the_end()
    called = [r for r in run.server.requests if r.message.get("method") == "tools/call"]
    assert all(request.headers.get("mcp-session-id", "").startswith(sent) for request in called)
    assert len({request.headers.get("mcp-session-id") for request in called}) == 1
    assert all(request.headers["mcp-protocol-version"] == "2025-06-18" for request in called)
    (opened,) = run.records("session", event="opened")
    assert opened.get("mcp_session_id_by") == whose
    assert "issued-" not in str(run.history.records) + str(opened)


async def test_modern_clients_never_initialize() -> None:
    async with play(FakeMcp(stateless=True), calls=2, era=Era.MODERN) as run:
        await run.to_the_end()
    assert run.shown() == [f"{n} {tool} ok" for n in (1, 2) for tool in ("set_session_value", "get_session_state")]
    assert {call["era"] for call in run.calls()} == {"modern"}
    assert run.mcp.initialized == 0
    assert {r.headers["mcp-method"] for r in run.server.requests} == {"tools/list", "tools/call"}


async def test_no_secret_is_written_down() -> None:
    headers = {"Authorization": "Bearer hush-1"}
    async with play(FakeMcp(tasks=2), sessions=2, calls=3, headers=headers, record_state=True) as run:
        await run.to_the_end()
    written = str(run.history.records)
    assert "hush-1" not in written
    assert not [request for request in run.server.requests if request.headers["authorization"] != "Bearer hush-1"]
    cookies = {request.headers.get("cookie", "").partition("=")[2] for request in run.server.requests} - {""}
    assert cookies
    assert not [cookie for cookie in cookies if cookie in written]


@pytest.mark.parametrize("mode", list(CookieMode))
async def test_a_cookie_that_changes_is_recorded_with_the_tasks_around_it(mode: CookieMode) -> None:
    async with play(FakeMcp(stateless=True), calls=2, cookies=mode) as run:
        await run.to_the_end()
    changes = run.records("cookie", event="session_cookie_changed", cookie_name="AWSALB")
    last = changes[-1]
    assert (last["task_id"], last["previous_task_id"]) == ("task1", "task1")
    assert last["old_digest"] != last["new_digest"]
    assert last["followed"] is (mode is CookieMode.FULL)
    assert len(changes) >= 4  # every answer brings another


async def test_sessions_that_fail_have_tried_all_the_same() -> None:
    mcp = FakeMcp()
    mcp.fail_next("set_session_value", *[bad_gateway] * 10_000)
    async with play(mcp, sessions=3, delay_s=0.01) as run, run.under_way():
        await run.probe.all_tried(10.0)
        assert (run.probe.progress.tried, run.probe.progress.warmed_up) == (3, 0)


async def test_a_session_in_the_middle_of_its_first_operation_has_not_tried_yet() -> None:
    async with play(FakeMcp(), delay_s=60.0) as run, run.under_way():
        await run.until(lambda: bool(run.calls(tool="set_session_value")))
        with pytest.raises(Temporary, match="0 of 1 sessions have called"):
            await run.probe.all_tried(0.05)
