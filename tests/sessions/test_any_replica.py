"""A session is served by whichever replica gets its next request."""

from __future__ import annotations

import pytest
from pair import Pair

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    shared_pair.extra = {}
    return shared_pair


async def test_a_session_opened_at_one_replica_is_served_by_the_other(pair: Pair) -> None:
    session = await pair.open(pair.a)
    assert [(await pair.call(at, "whoami")).text for at in (pair.b, pair.a, pair.b)] == [
        f'{{"replica":"{name}","session":"{session}"}}' for name in "bab"
    ]


async def test_what_a_tool_keeps_for_its_session_is_kept_for_every_replica(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "remember", key="colour", value="blue")
    assert (await pair.call(pair.b, "recall", key="colour")).text == "blue"


async def test_sessions_do_not_see_each_other(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "remember", key="colour", value="blue")
    await pair.open(pair.a)
    assert (await pair.call(pair.b, "recall", key="colour")).text == "None"


async def test_a_session_ended_at_one_replica_has_ended_at_the_other(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "whoami")  # known to both
    await pair.call(pair.b, "whoami")
    assert (await pair.delete(pair.b)).status == 200
    for at in (pair.a, pair.b):
        answer = await pair.call(at, "whoami")
        assert (answer.status, answer.error) == (404, {"code": -32600, "message": "Session not found"})


async def test_an_answer_to_an_elicitation_may_arrive_anywhere(pair: Pair) -> None:
    await pair.open(pair.a)
    for asked, answered in ((pair.a, pair.b), (pair.b, pair.a), (pair.a, pair.a)):
        async with pair.stream(asked, pair.tool("ask", question="Which?")) as stream:
            request = await stream.next()
            assert request is not None
            assert request["method"] == "elicitation/create"
            reply = {"action": "accept", "content": {"value": "this one"}}
            sent = await pair.send(answered, {"jsonrpc": "2.0", "id": request["id"], "result": reply})
            assert sent.status == 202
            (result,) = await stream.rest()
            assert result["result"]["content"][0]["text"] == f"{asked.name}: this one"


async def test_two_replicas_may_ask_one_client_at_once_and_each_gets_its_own_answer(pair: Pair) -> None:
    await pair.open(pair.a)
    async with (
        pair.stream(pair.a, pair.tool("ask", question="a?")) as at_a,
        pair.stream(pair.b, pair.tool("ask", question="b?")) as at_b,
    ):
        for stream, answered, value in ((at_b, pair.a, "for b"), (at_a, pair.b, "for a")):
            request = await stream.next()
            assert request is not None
            reply = {"action": "accept", "content": {"value": value}}
            await pair.send(answered, {"jsonrpc": "2.0", "id": request["id"], "result": reply})
        assert [(await s.rest())[0]["result"]["content"][0]["text"] for s in (at_a, at_b)] == ["a: for a", "b: for b"]


async def test_sampling_works_likewise(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("sample", prompt="?")) as stream:
        request = await stream.next()
        assert request is not None
        sampled = {"role": "assistant", "content": {"type": "text", "text": "hm"}, "model": "test"}
        await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "result": sampled})
        (result,) = await stream.rest()
        assert result["result"]["content"][0]["text"] == "a: hm"


async def test_a_request_may_come_over_the_standalone_stream_of_another_replica(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.b) as standalone, pair.stream(pair.a, pair.tool("roots")) as stream:
        request = await standalone.next()
        assert request is not None
        assert request["method"] == "roots/list"
        await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "result": {"roots": [{"uri": "file:///home"}]}})
        (result,) = await stream.rest()
        assert result["result"]["content"][0]["text"] == '["file:///home"]'


async def test_a_client_may_refuse_what_it_is_asked(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.b) as standalone, pair.stream(pair.a, pair.tool("roots")) as stream:
        request = await standalone.next()
        assert request is not None
        error = {"code": -32601, "message": "no roots here"}
        await pair.send(pair.b, {"jsonrpc": "2.0", "id": request["id"], "error": error})
        (result,) = await stream.rest()
        assert result["result"]["isError"]
        assert "no roots here" in result["result"]["content"][0]["text"]


async def test_a_notification_reaches_the_standalone_stream_at_another_replica(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.b) as stream:
        assert (await pair.call(pair.a, "announce", text="one")).text == "a"
        message = await stream.next()
    assert message is not None
    assert message["params"] == {"uri": "note://one"}


async def test_what_is_said_while_nobody_listens_is_delivered_once(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "announce", text="early")
    async with pair.listen(pair.b) as stream:
        assert (await stream.next() or {}).get("params") == {"uri": "note://early"}
    await pair.call(pair.a, "announce", text="late")
    async with pair.listen(pair.a) as stream:
        assert (await stream.next() or {}).get("params") == {"uri": "note://late"}


async def test_a_newer_listener_takes_the_stream_over(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.listen(pair.a) as old, pair.listen(pair.b) as new:
        assert await old.next() is None
        await pair.call(pair.a, "announce", text="x")
        assert (await new.next() or {}).get("params") == {"uri": "note://x"}


async def test_a_call_is_cancelled_from_another_replica(pair: Pair) -> None:
    await pair.open(pair.a)
    message = pair.tool("slow", seconds=30.0)
    async with pair.stream(pair.a, message) as stream:
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": message["id"]}}
        assert (await pair.send(pair.b, cancel)).status == 202
        (result,) = await stream.rest()
    assert result["error"] == {"code": -32800, "message": "Request cancelled"}
    assert (await pair.http.get(f"{pair.a.url}/running")).json() == {"slow": 0}


async def test_the_log_level_set_at_one_replica_holds_at_the_other(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.b, "whoami")  # seen there before
    assert (await pair.send(pair.a, pair.request("logging/setLevel", {"level": "error"}))).last["result"] == {}
    for _ in range(50):
        quiet = await pair.call(pair.b, "log", text="x", level="info")
        if len(quiet.messages) == 1:
            break
    assert len(quiet.messages) == 1
    loud = await pair.call(pair.b, "log", text="x", level="error")
    assert [m.get("method") for m in loud.messages] == ["notifications/message", None]
