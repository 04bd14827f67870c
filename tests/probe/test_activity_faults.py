"""Activities against a scripted server: what no well-behaved server does on request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rollproof.history import Record
from rollproof.probe import Activity, Era, summary
from rollproof.probe.replies import answer_to
from tests.probe.fake_mcp import CLIENT_TOOLS, SAMPLE_TOOLS, FakeMcp, bad_gateway
from tests.probe.loopback import Reply, Request
from tests.probe.running import Play, play


def asking(**options: Any) -> FakeMcp:
    mcp = FakeMcp(**options)
    mcp.tools = [*SAMPLE_TOOLS, *CLIENT_TOOLS]
    return mcp


def only(run: Play) -> Record:
    (record,) = [call for call in run.calls() if "activity" in call]
    return record


async def ask_under_a_text_id(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    """As a server whose replicas must not give the same id twice does."""
    arguments = request.message["params"]["arguments"]
    await reply.start_stream()
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    params = {"message": arguments["question"], "requestedSchema": schema}
    await reply.event({"jsonrpc": "2.0", "id": "replica-a.1", "method": "elicitation/create", "params": params})
    given = await mcp.replies.get()
    assert given["id"] == "replica-a.1"
    content = {"answer": given["result"]["content"]["answer"], "token": arguments["token"]}
    await reply.event(mcp.result(request, {"structuredContent": content}))
    await reply.end_stream()


async def test_a_question_may_have_a_text_for_an_id() -> None:
    mcp = asking()
    mcp.fail_next("confirm", ask_under_a_text_id)
    async with play(mcp, calls=1, activities=(Activity.ELICITATION,), answer_delay_s=0.0) as run:
        await run.to_the_end()
    assert only(run)["activity_outcome"] == "ok"
    (initialize,) = [r for r in run.server.requests if r.message.get("method") == "initialize"][1:]
    assert initialize.message["params"]["capabilities"] == {"elicitation": {}}


async def give_anothers_answer(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    token = request.message["params"]["arguments"]["token"]
    content = {"answer": answer_to("What is s2/1?"), "token": token}
    await reply.json(200, mcp.result(request, {"structuredContent": content}))


async def test_somebody_elses_answer_is_seen_and_costs_the_session_nothing() -> None:
    mcp = asking()
    mcp.fail_next("confirm", give_anothers_answer)
    async with play(mcp, calls=1, activities=(Activity.ELICITATION,)) as run:
        await run.to_the_end()
    record = only(run)
    assert (record["activity_outcome"], record["signature"]) == ("misdelivered", "misdelivered")
    assert "s2/1" in record["error"]
    found = summary(run.history.records)
    assert (found["error_rows"], found["session_complete"]) == (0, True)
    assert run.probe.progress.failures == 0
    assert run.probe.progress.activities == {"misdelivered": 1}


async def test_an_answer_refused_by_the_balancer_ends_the_wait() -> None:
    mcp = asking()
    mcp.fail_next("confirm", ask_under_a_text_id)
    mcp.fail_next("POST", bad_gateway)  # a reply is a message without a method
    async with play(mcp, calls=1, activities=(Activity.ELICITATION,), answer_delay_s=0.0) as run:
        await run.to_the_end()
    assert (only(run)["activity_outcome"], only(run)["signature"]) == ("reply-refused", "502")


async def test_an_announcement_comes_over_a_stream_that_was_taken_up_again() -> None:
    """It ends before the announcement, and brings it to the client that asks for what came after e7."""
    mcp = asking()
    mcp.has_stream = True
    announced: asyncio.Queue[str] = asyncio.Queue()

    async def announce(mcp: FakeMcp, request: Request, reply: Reply) -> None:
        announced.put_nowait(request.message["params"]["arguments"]["text"])
        await reply.json(200, mcp.result(request, {"structuredContent": {"count": 1}}))

    async def end_at_e7(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
        await reply.start_stream()
        await reply.send('id: e7\nretry: 1\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\n\n')
        await reply.end_stream()

    async def bring_it(_mcp: FakeMcp, request: Request, reply: Reply) -> None:
        assert request.headers["last-event-id"] == "e7"
        await reply.start_stream()
        text = await announced.get()
        params = {"level": "info", "data": {"text": text}}
        await reply.event({"jsonrpc": "2.0", "method": "notifications/message", "params": params})

    mcp.fail_next("announce", announce)
    mcp.fail_next("GET", end_at_e7, bring_it)
    async with play(mcp, calls=1, activities=(Activity.STREAM,)) as run:
        await run.to_the_end()
    assert only(run)["activity_outcome"] == "ok"


async def take_the_delete_and_go_on(_mcp: FakeMcp, _request: Request, reply: Reply) -> None:
    await reply.body(200)


async def test_a_deleted_session_that_is_still_served_is_seen() -> None:
    mcp = asking()
    async with play(mcp, calls=1, activities=(Activity.DELETE,)) as run:
        mcp.fail_next("tools/list", fail_the_next_delete)
        await run.to_the_end()
    record = only(run)
    assert (record["activity_outcome"], record["tool"]) == ("still-served", "get_session_state")
    assert mcp.initialized == 3  # discovery's, the session's, and that of the one to be deleted


async def fail_the_next_delete(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    """Discovery deletes its own session; the next one is the side session's."""
    mcp.fail_next("DELETE", delete_for_good, take_the_delete_and_go_on)
    await mcp.answer(mcp.tasks[0], request, reply)


async def delete_for_good(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    await mcp.answer(mcp.tasks[0], request, reply)


async def answer_with_a_task(mcp: FakeMcp, request: Request, reply: Reply) -> None:
    meta = request.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    assert meta["extensions"] == {"io.modelcontextprotocol/tasks": {}}
    task = {"resultType": "task", "taskId": "t1", "status": "working", "pollIntervalMs": 50}
    await reply.json(200, mcp.result(request, task))


def task_is(status: str) -> Any:
    async def answer(mcp: FakeMcp, request: Request, reply: Reply) -> None:
        assert request.message["params"]["taskId"] == "t1"
        assert request.headers["mcp-name"] == "t1"
        await reply.json(200, mcp.result(request, {"resultType": "complete", "taskId": "t1", "status": status}))

    return answer


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [(["working", "completed"], ("ok", "ok")), (["failed"], ("failed", "tool-error: task failed"))],
)
async def test_a_task_is_asked_for_until_it_is_done(statuses: list[str], expected: tuple[str, str]) -> None:
    mcp = asking(stateless=True)
    mcp.fail_next("slow", answer_with_a_task)
    mcp.fail_next("tasks/get", *map(task_is, statuses))
    async with play(mcp, calls=1, era=Era.MODERN, activities=(Activity.TASKS,)) as run:
        await run.to_the_end()
    assert (only(run)["activity_outcome"], only(run)["signature"]) == expected
    assert mcp.served.count("tasks/get") == len(statuses)


async def test_each_session_begins_elsewhere_so_that_all_are_tried_before_it_is_warm() -> None:
    mcp = asking(stateless=True)
    mcp.release_slow.set()
    kinds = (Activity.ELICITATION, Activity.STREAM, Activity.DELETE, Activity.TASKS, Activity.SAMPLING)
    for tool in ("confirm", "announce", "slow"):
        mcp.fail_next(tool, *[bad_gateway] * 9)
    async with play(mcp, sessions=2, calls=1, activities=kinds) as run:
        await run.to_the_end()
    tried = [call["activity"] for call in run.calls() if "activity" in call]
    assert sorted(set(tried)) == ["delete", "elicitation", "stream", "tasks"]  # it has no tool for sampling
    assert run.records("mark", name="warmed-up")
