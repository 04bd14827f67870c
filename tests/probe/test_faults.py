"""What a rollout does to sessions, and how the probe writes it down: lost, recovered, doubled, cut."""

from __future__ import annotations

import asyncio

import pytest

from rollproof.probe import CookieMode, Increments, summary
from tests.probe.fake_mcp import (
    FakeMcp,
    applied_then_bad_gateway,
    applied_twice,
    bad_gateway,
    cut_stream,
    hang_up,
)
from tests.probe.loopback import Reply, Request
from tests.probe.running import Play, play

NOT_FOUND = "404/-32600 Session not found"


async def replace_between_write_and_read(run: Play) -> None:
    """The rollout ends exactly where it hurts: after a write was acknowledged, before it is read back."""
    await run.probe.warmed_up(within_s=10)
    written = len(run.calls(tool="set_session_value"))
    await run.until(lambda: len(run.calls(tool="set_session_value")) > written)
    run.mcp.replace_tasks()
    failed = run.probe.progress.failures
    await run.until(lambda: run.probe.progress.failures > failed + 3)


async def test_memory_is_lost_with_its_task() -> None:
    async with play(FakeMcp(tasks=2), delay_s=0.02) as run, run.under_way():
        await replace_between_write_and_read(run)
    first = next(call for call in run.calls() if not call["ok"])
    assert (first["tool"], first["signature"], first["http_status"]) == ("get_session_state", NOT_FOUND, 404)
    assert first["rpc_error"] == {"code": -32600, "message": "Session not found"}
    assert run.calls(tool="set_session_value", call_number=first["call_number"])[0]["ok"]
    after = run.calls()[run.calls().index(first) :]
    assert {call["signature"] for call in after} == {NOT_FOUND}
    assert run.mcp.initialized == 2  # discovery's and the session's: it did not open another
    found = summary(run.history.records)
    assert (found["session_complete"], found["session_not_found_count"]) == (False, len(after))


async def test_a_shared_store_survives_its_tasks() -> None:
    async with play(FakeMcp(tasks=2, stateless=True), sessions=3, increments=Increments.PLAIN) as run, run.under_way():
        await run.probe.warmed_up(within_s=10)
        run.mcp.replace_tasks()
        calls = run.probe.progress.calls
        await run.until(lambda: run.probe.progress.calls > calls + 20)
    found = summary(run.history.records)
    assert (found["error_rows"], found["session_complete"]) == (0, True)
    assert {"task1", "new-task1"} <= set(found["unique_task_ids"]) | {"task1"}
    assert any(task.startswith("new-") for task in found["unique_task_ids"])


async def test_reinitialising_opens_a_new_session_and_finds_it_empty() -> None:
    async with play(FakeMcp(), reinitialise=True, delay_s=0.02) as run, run.under_way():
        await replace_between_write_and_read(run)
    (event,) = run.records("session", event="reinitialised")
    assert event["reason"] == NOT_FOUND
    assert run.shown(signature=NOT_FOUND) == [f"{event_number(run)} get_session_state {NOT_FOUND}"]
    (fresh,) = run.calls(new_session=True)
    assert fresh["tool"] == "set_session_value"
    defective = run.calls(signature="state-missing")
    assert defective[0]["missing"][0] == "seq_1"
    assert set(defective[0]["expected"]) > set(defective[0]["state"])
    assert "expected" not in defective[1]  # written in full once
    assert defective[1]["expected_size"] > defective[1]["state_size"]


async def test_with_replay_a_new_session_is_brought_to_where_the_old_one_was() -> None:
    given = {"reinitialise": True, "retries": 2, "replay": True, "increments": Increments.KEYED, "delay_s": 0.02}
    async with play(FakeMcp(), **given) as run, run.under_way():
        await run.probe.warmed_up(within_s=10)
        await run.until(lambda: len(run.calls(tool="get_session_state")) > 3)
        run.mcp.replace_tasks()
        await run.until(lambda: bool(run.calls(replay=True)))
        calls = len(run.calls())
        await run.until(lambda: len(run.calls()) > calls + 10)
    assert run.records("session", event="reinitialised")
    replayed = run.calls(replay=True)
    before = run.calls(signature=NOT_FOUND)[0]["call_number"]
    written = [call["call_number"] for call in replayed if call["tool"] == "set_session_value"]
    assert written == list(range(1, before))
    assert not run.calls(signature="state-missing")
    assert run.calls()[-1]["ok"]


def event_number(run: Play) -> int:
    number: int = run.calls(signature=NOT_FOUND)[0]["call_number"]
    return number


async def test_a_session_that_cannot_be_reopened_is_tried_again() -> None:
    mcp = FakeMcp()
    async with play(mcp, reinitialise=True) as run, run.under_way():
        await run.probe.warmed_up(within_s=10)
        mcp.fail_next("initialize", bad_gateway, hang_up)
        mcp.replace_tasks()
        await run.until(lambda: bool(run.records("session", event="reinitialised")))
    assert [call["signature"] for call in run.calls(tool="initialize")] == ["ok", "502", "connection-closed", "ok"]


async def test_without_stickiness_a_stateful_server_fails_every_other_call() -> None:
    async with play(FakeMcp(tasks=2), calls=4, cookies=CookieMode.NONE) as run:
        await run.to_the_end()
    assert {NOT_FOUND, "ok"} <= {call["signature"] for call in run.calls()}


async def test_a_session_scattered_over_tasks_does_not_hide_the_tools() -> None:
    mcp = FakeMcp(tasks=3, sticky=False)
    async with play(mcp, calls=3) as run:
        await run.to_the_end()
    assert run.records("setting", name="probe.plan")[0]["value"] == "sample"
    assert run.calls(tool="notifications/initialized", signature=NOT_FOUND)


async def test_the_first_cookie_alone_still_sticks_where_the_task_lives() -> None:
    async with play(FakeMcp(tasks=2), calls=4, cookies=CookieMode.FIRST) as run:
        await run.to_the_end()
    assert summary(run.history.records)["session_complete"]


async def test_a_session_that_cannot_open_says_so_and_goes_on_trying() -> None:
    mcp = FakeMcp()
    async with play(mcp, calls=3, ramp_up_s=0.0) as run:
        mcp.fail_next("tools/list", open_only_then_fail)
        await run.to_the_end()
    assert run.shown() == ["0 initialize 502"] * 3
    (closed,) = run.records("session", event="closed")
    assert closed["reason"] == "never opened"


async def open_only_then_fail(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    """The discovery succeeds; from then on nobody can open a session."""
    mcp.fail_next("initialize", *[bad_gateway] * 10)
    await mcp.answer(mcp.tasks[0], request, reply)


@pytest.mark.parametrize(
    ("tool", "retries", "expected"),
    [
        (
            "set_session_value",
            1,
            [
                "1 set_session_value 502",
                "1 increment ok",
                "1 get_session_state ok",
                "1 set_session_value ok",
                "1 increment ok",
                "1 get_session_state ok",
            ],
        ),
        (
            "increment",
            1,
            [
                "1 set_session_value ok",
                "1 increment 502",
                "1 get_session_state ok",
                "1 set_session_value ok",
                "1 increment ok",
                "1 get_session_state ok",
            ],
        ),
        ("increment", 0, ["1 set_session_value ok", "1 increment 502", "1 get_session_state ok"]),
    ],
)
async def test_an_operation_is_repeated_as_a_whole_under_the_same_keys(
    tool: str, retries: int, expected: list[str]
) -> None:
    mcp = FakeMcp()
    mcp.fail_next(tool, applied_then_bad_gateway)
    async with play(mcp, calls=1, retries=retries, increments=Increments.KEYED) as run:
        await run.to_the_end()
    assert run.shown()[1:] == expected
    assert [call.get("attempt") for call in run.calls()][-1] == (1 if retries else None)
    if retries:
        assert run.calls(tool="increment")[-1]["replayed"] is True
        assert run.calls(tool="increment")[-1]["state"] == 1


async def test_an_increment_without_a_key_is_not_repeated_unless_it_was_refused() -> None:
    mcp = FakeMcp()
    mcp.fail_next("increment", applied_then_bad_gateway)
    async with play(mcp, calls=1, retries=1, increments=Increments.PLAIN) as run:
        await run.to_the_end()
    assert [call["signature"] for call in run.calls(tool="increment")] == ["502"]

    mcp = FakeMcp()
    mcp.fail_next("increment", refuse)
    async with play(mcp, calls=1, retries=1, increments=Increments.PLAIN) as run:
        await run.to_the_end()
    assert [call["signature"] for call in run.calls(tool="increment")] == ["400/-32600 no", "ok"]


async def refuse(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.json(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}})


async def test_what_was_applied_twice_is_seen() -> None:
    mcp = FakeMcp()
    mcp.fail_next("increment", applied_twice)
    async with play(mcp, calls=2, increments=Increments.PLAIN) as run:
        await run.to_the_end()
    first, second = run.calls(tool="increment")
    assert (first["signature"], first["state"], first["expected"]) == ("applied-twice", 2, 1)
    assert first["error"] == "the counter is 2, expected 1"
    assert second["ok"]
    assert summary(run.history.records)["session_complete"] is False


@pytest.mark.parametrize(
    ("fault", "signature"), [(hang_up, "connection-closed"), (cut_stream, "stream-ended-without-response")]
)
async def test_a_cut_call_is_one_failure_and_no_loss(fault: object, signature: str) -> None:
    mcp = FakeMcp()
    mcp.fail_next("set_session_value", fault)  # type: ignore[arg-type]
    async with play(mcp, calls=2) as run:
        await run.to_the_end()
    assert run.shown()[1:] == [
        f"1 set_session_value {signature}",
        "1 get_session_state ok",
        "2 set_session_value ok",
        "2 get_session_state ok",
    ]


async def test_a_slow_call_in_flight_is_cut_and_the_session_goes_on() -> None:
    mcp = FakeMcp()
    mcp.fail_next("slow", progress_then_cut)
    async with play(mcp, slow_every=1) as run, run.under_way():
        await run.until(lambda: bool(run.calls(tool="slow")))
        mcp.release_slow.set()
    cut, *others = run.calls(tool="slow")
    assert (cut["signature"], cut["progress"]) == ("stream-ended-without-response", 1)
    assert all(call["ok"] for call in others)
    assert run.calls()[-1]["final"] is True
    assert run.calls()[-1]["ok"] is True


async def progress_then_cut(_mcp: FakeMcp, request: Request, reply: Reply) -> None:
    token = request.message["params"]["_meta"]["progressToken"]
    await reply.start_stream()
    params = {"progressToken": token, "progress": 1}
    await reply.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    reply.cut()


async def test_stop_waits_for_the_slow_call() -> None:
    mcp = FakeMcp()
    async with play(mcp, slow_every=1) as run:
        async with run.under_way():
            await run.probe.warmed_up(within_s=10)
            await mcp.slow_begun.wait()
            asyncio.get_running_loop().call_later(0.02, mcp.release_slow.set)
        assert run.shown()[-2:] == [
            f"{run.calls()[-2]['call_number']} slow ok",
            f"{run.calls()[-1]['call_number']} get_session_state ok",
        ]


async def test_an_open_stream_is_taken_up_where_it_ended() -> None:
    mcp = FakeMcp()
    mcp.has_stream = True
    mcp.fail_next("GET", end_stream_after_event)
    async with play(mcp, open_streams=True) as run, run.under_way():
        await run.until(lambda: len(run.records("session", event="stream_opened")) == 2)
    events = [record["event"] for record in run.records("session")]
    assert events == ["opened", "stream_opened", "stream_ended", "stream_opened", "stream_ended", "closed"]
    reasons = [record["reason"] for record in run.records("session", event="stream_ended")]
    assert reasons == ["ended by the server", "ended by the client"]
    gets = [request for request in run.server.requests if request.method == "GET"]
    assert [request.headers.get("last-event-id") for request in gets] == [None, "e7"]


async def end_stream_after_event(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.start_stream()
    await reply.send('id: e7\nretry: 1\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\n\n')
    await reply.end_stream()


async def test_a_server_without_a_stream_is_no_failure() -> None:
    async with play(FakeMcp(), open_streams=True, calls=2) as run:
        await run.to_the_end()
    (refused,) = run.records("session", event="stream_refused")
    assert refused["http_status"] == 405
    assert summary(run.history.records)["session_complete"]


async def test_a_stream_that_keeps_breaking_is_given_up() -> None:
    mcp = FakeMcp()
    mcp.has_stream = True
    mcp.fail_next("GET", *[no_such_path] * 5)
    async with play(mcp, open_streams=True, reconnect_s=0.001) as run, run.under_way():
        await run.until(lambda: len(run.records("session", event="stream_ended")) == 5)
    assert {r["reason"] for r in run.records("session", event="stream_ended")} == {"404"}


async def no_such_path(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.body(404)
