"""What is not this client's is refused, and refusing costs little."""

from __future__ import annotations

import asyncio
import time

import pytest
from pair import VERSION, Pair

from rollproof.sessions.identity import Signer

NOT_FOUND = {"code": -32600, "message": "Session not found"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    shared_pair.extra = {}
    return shared_pair


@pytest.mark.parametrize(
    "session",
    [
        "guessed",
        "a" * 26 + "." + "a" * 26,
        Signer(b"x" * 32).new_session_id(),
        "é".encode().decode("latin-1"),
        "x" * 60_000,
    ],
    ids=["a word", "the right shape", "another server's", "not ASCII", "60 kB"],
)
async def test_a_session_id_that_this_server_never_made_is_not_found(pair: Pair, session: str) -> None:
    await pair.open(pair.a)
    for answer in (
        await pair.send(pair.b, pair.tool("whoami"), session=session),
        await pair.delete(pair.b, session=session),
    ):
        assert (answer.status, answer.error) == (404, NOT_FOUND)


async def test_an_id_of_one_megabyte_is_refused_by_the_http_parser_or_here(pair: Pair) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(pair.a.url.rsplit(":", 1)[1]))
    writer.write(b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nMcp-Session-Id: ")
    writer.write(b"x" * 1_000_000 + b"\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert line.split()[1] in (b"400", b"404", b"431")
    await pair.open(pair.a)


async def test_an_ended_session_is_not_opened_again_by_naming_it(pair: Pair) -> None:
    session = await pair.open(pair.a)
    await pair.delete(pair.a)
    params = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    answer = await pair.send(pair.a, pair.request("initialize", params), session=session)
    assert (answer.status, answer.error) == (404, NOT_FOUND)


async def test_an_answer_to_somebody_elses_elicitation_is_refused(pair: Pair) -> None:
    victim = await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("ask", question="Which?")) as stream:
        request = await stream.next()
        assert request is not None
        attacker = await pair.open(pair.a)
        forged = {"jsonrpc": "2.0", "id": request["id"], "result": {"action": "accept", "content": {"value": "mine"}}}
        for at in (pair.a, pair.b):
            answer = await pair.send(at, forged, session=attacker)
            assert (answer.status, answer.error["code"]) == (400, -32600)
        forged["result"] = {"action": "accept", "content": {"value": "the victim's own"}}
        assert (await pair.send(pair.b, forged, session=victim)).status == 202
        (result,) = await stream.rest()
    assert result["result"]["content"][0]["text"] == "a: the victim's own"


@pytest.mark.parametrize("number", [1, "1", "x-1-y", "", None, True, "a" * 10_000])
async def test_a_reply_to_a_request_that_was_never_made_is_refused(pair: Pair, number: object) -> None:
    await pair.open(pair.a)
    assert (await pair.send(pair.a, {"jsonrpc": "2.0", "id": number, "result": {}})).status == 400


async def test_the_events_of_another_session_cannot_be_replayed(pair: Pair) -> None:
    await pair.open(pair.a)
    async with pair.stream(pair.a, pair.tool("slow", seconds=0.2)) as stream:
        await stream.next()
    event = stream.event_ids[-1]
    await pair.open(pair.a)
    for forged in (event, f"{event}0", "listen/x", "listen/0-0/1", "nonsense", "a/1", event.replace("-1-", "-2-")):
        async with pair.listen(pair.b, forged) as refused:
            assert refused.response.status_code == 400, forged


async def test_the_standalone_stream_is_the_own_sessions_whatever_event_is_named(pair: Pair) -> None:
    await pair.open(pair.a)
    await pair.call(pair.a, "announce", text="secret")
    await pair.open(pair.a)
    await pair.call(pair.a, "announce", text="mine")
    async with pair.listen(pair.b, "listen/0-0") as stream:
        assert (await stream.next() or {}).get("params") == {"uri": "note://mine"}


async def test_ten_thousand_unknown_ids_do_not_reach_redis(pair: Pair) -> None:
    await pair.open(pair.a)
    link = pair.a.sessions._link
    before = int((await link._redis.info("commandstats")).get("cmdstat_getex", {"calls": 0})["calls"])
    signer = pair.a.sessions._serving.signer
    began = time.perf_counter()
    assert not any(signer.is_session_id(f"{number:026d}.{'a' * 26}") for number in range(10_000))
    assert time.perf_counter() - began < 1.0
    for number in range(200):
        assert (await pair.send(pair.a, pair.tool("whoami"), session=f"{number:026d}.{'a' * 26}")).status == 404
    after = int((await link._redis.info("commandstats")).get("cmdstat_getex", {"calls": 0})["calls"])
    assert after == before
