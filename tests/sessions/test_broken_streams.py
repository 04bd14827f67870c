"""A broken answer is taken up anywhere; a replica that dies says so, a replica that stops loses nothing."""

from __future__ import annotations

import asyncio

import pytest
from pair import Pair, Replica, StartReplica

pytestmark = pytest.mark.e2e  # waits for what takes time: timeouts, heartbeats, drains

LOST = "the replica that served this call is gone; whether the call was carried out is unknown"


async def break_off(pair: Pair, at: Replica, **arguments: object) -> str:
    """Begin a slow call and leave after its first message; the id of the last event seen."""
    async with pair.stream(at, pair.tool("slow", **arguments)) as stream:
        message = await stream.next()
        assert message is not None
        assert message["method"] == "notifications/progress"
    assert len(stream.event_ids) == 2  # the priming one, and this
    return stream.event_ids[-1]


@pytest.mark.parametrize("at", ["a", "b"])
async def test_a_broken_answer_is_taken_up_at_any_replica(pair: Pair, at: str) -> None:
    await pair.open(pair.a)
    last = await break_off(pair, pair.a, seconds=0.5)
    async with pair.listen(getattr(pair, at), last) as stream:
        messages = await stream.rest()
    assert [m["params"]["progress"] for m in messages[:-1]] == [2, 3, 4]
    assert messages[-1]["result"]["content"][0]["text"] == "a is done"


async def test_an_answer_that_nobody_heard_can_be_taken_up_later_and_again(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("slow", seconds=0.1)) as stream:
        assert await stream.next() is not None
    await asyncio.sleep(0.3)
    for at in (pair.b, pair.a):
        async with pair.listen(at, stream.event_ids[0]) as again:
            assert len(await again.rest()) == 5


async def test_a_question_asked_after_the_connection_broke_is_asked_where_the_client_is(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("ask", question="Which?")) as broken:
        assert await broken.next() is not None
    async with pair.listen(pair.b, broken.event_ids[0]) as stream:
        request = await stream.next()
        assert request is not None
        reply = {"action": "accept", "content": {"value": "that"}}
        await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "result": reply})
        (result,) = await stream.rest()
    assert result["result"]["content"][0]["text"] == "a: that"


async def test_a_call_of_a_replica_that_died_ends_with_an_error_within_seconds(pair: Pair) -> None:
    await pair.open(pair.a)
    last = await break_off(pair, pair.a, seconds=60.0, steps=1000)
    await pair.a.die()
    began = asyncio.get_running_loop().time()
    async with pair.listen(pair.b, last) as stream:
        messages = await stream.rest()
    assert messages[-1]["error"] == {"code": -32000, "message": LOST}
    assert asyncio.get_running_loop().time() - began < 5.0
    async with pair.listen(pair.b, last) as again:
        assert (await again.rest())[-1]["error"]["message"] == LOST


async def test_a_reply_to_a_replica_that_died_is_refused(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("ask", question="Which?")) as stream:
        request = await stream.next()
        assert request is not None
    await pair.a.die()
    await asyncio.sleep(1.2)  # dead_after_s
    answer = await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "result": {"action": "decline"}})
    assert (answer.status, answer.error["code"]) == (400, -32600)


async def test_the_session_goes_on_when_a_replica_died(pair: Pair, start_replica: StartReplica) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "remember", key="k", value="v")
    await pair.a.die()
    assert (await pair.call(pair.b, "recall", key="k")).text == "v"
    assert (await pair.call(await start_replica("c"), "recall", key="k")).text == "v"


async def test_a_replica_that_stops_finishes_its_calls(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("slow", seconds=0.5)) as stream:
        assert await stream.next() is not None
        stopping = asyncio.create_task(pair.a.stop())
        assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "a is done"
    await stopping


async def test_a_replica_that_stops_finishes_calls_whose_client_has_left(pair: Pair) -> None:
    await pair.open(pair.a)
    last = await break_off(pair, pair.a, seconds=0.5)
    async with pair.listen(pair.b, last) as stream:
        await pair.a.stop()
        assert (await stream.rest())[-1]["result"]["content"][0]["text"] == "a is done"


async def test_a_call_that_outlives_its_replica_says_that_it_was_cut(start_replica: StartReplica) -> None:
    pair = Pair(await start_replica("a", drain_s=0.3), await start_replica("b", drain_s=0.3))
    await pair.open(pair.a)
    last = await break_off(pair, pair.a, seconds=60.0, steps=1000)
    await pair.a.stop()
    async with pair.listen(pair.b, last) as stream:
        error = (await stream.rest())[-1]["error"]
    assert error["code"] == -32000
    assert "stopped before the call had ended" in error["message"]
    await pair.close()


async def test_a_replica_that_stops_ends_its_standalone_streams_and_another_takes_over(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.a) as stream:
        await pair.a.stop()
        assert await stream.next() is None
    await pair.call(pair.b, "announce", text="meanwhile")
    async with pair.listen(pair.b) as stream:
        assert (await stream.next() or {}).get("params") == {"uri": "note://meanwhile"}


async def test_what_is_said_between_two_listenings_is_told_once_by_the_first_ones_priming_event(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.a) as stream:
        with pytest.raises(TimeoutError):
            await stream.next(0.2)
    (primed,) = stream.event_ids
    for text in ("one", "two"):
        await pair.call(pair.a, "announce", text=text)
    async with pair.listen(pair.a) as unheard:  # a listener that is gone again before it has heard
        assert unheard.response.status_code == 200
    for _ in range(2):
        async with pair.listen(pair.b, primed) as again:
            said = [(await again.next() or {})["params"]["uri"] for _ in range(2)]
        assert said == ["note://one", "note://two"]


async def test_a_standalone_stream_is_taken_up_by_its_last_event(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.a) as stream:
        for text in ("one", "two"):
            await pair.call(pair.b, "announce", text=text)
            assert await stream.next() is not None
    _primed, first, _second = stream.event_ids
    async with pair.listen(pair.b, first) as again:
        assert (await again.next() or {}).get("params") == {"uri": "note://two"}
