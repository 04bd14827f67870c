"""The embedded balancer over real connections: HTTP/1.1 as an ALB speaks it, and clients that mean no good."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rollproof.core.routing_table import NodeTable, RoutableTarget
from rollproof.core.settings import LoadBalancerSettings
from rollproof.orchestrator.balancers.embedded import BalancerOptions, EmbeddedBalancer, EmbeddedBalancerClient, serve
from rollproof.testing.balancer_play import PAGE_502, Play
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Wire, get, request

IMPATIENT = LoadBalancerSettings(idle_timeout_s=0.15)


@dataclass(frozen=True)
class Stage:
    server: EmbeddedBalancer
    balancer: EmbeddedBalancerClient

    @property
    def port(self) -> int:
        return self.server.port

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.balancer.exchange(method, path, body)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    options = BalancerOptions(access_log=tmp_path / "access.log", control=tmp_path / "c.sock")
    faults: list[dict[str, Any]] = []  # what a callback of the event loop raised
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with serve(options) as balancer:
        yield Stage(balancer, EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log))
    assert faults == []


@pytest.fixture
async def target() -> AsyncIterator[TargetServer]:
    server = TargetServer("a")
    await server.start()
    yield server
    await server.stop()
    assert server.violations == []


@pytest.fixture
async def play(stage: Stage, target: TargetServer) -> Play:
    play = Play(stage, target)
    await play.publish("a")
    return play


# --- connections ----------------------------------------------------------------------------------------


async def test_both_sides_keep_their_connection(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        for _ in range(20):
            answer = await wire.ask(get("/hello"))
            assert answer.header("connection") == "keep-alive"
    assert target.connections == 1


async def test_pipelined_requests_are_answered_one_after_the_other_in_order(play: Play, target: TargetServer) -> None:
    target.go.set()
    async with await play.wire() as wire:
        wire.send(get("/wait") + request("POST", "/size", b"12345") + get("/204") + get("/hello?" + "x" * 9000))
        answers = [await wire.response() for _ in range(4)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"a"), (200, b"5"), (204, b""), (200, b"a")]
    assert target.connections == 1


async def test_a_request_that_comes_byte_by_byte_is_one(play: Play) -> None:
    async with await play.wire() as wire:
        for byte in b"\r\n" + request("POST", "/size", b"12345"):
            wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.response()).body == b"5"


async def test_empty_lines_between_requests_are_skipped(play: Play) -> None:
    async with await play.wire() as wire:
        wire.send(b"\r\n\r\n" + get("/hello") + b"\r\n" + get("/hello"))
        assert [(await wire.response()).body for _ in range(2)] == [b"a", b"a"]


async def test_a_client_that_says_close_is_closed_after_the_answer(play: Play) -> None:
    async with await play.wire() as wire:
        answer = await wire.ask(get("/hello", Connection="close"))
        assert answer.header("connection") == "close"
        assert await wire.until_closed() == b""


async def test_http_1_0_gets_its_body_without_chunks_and_a_closed_connection(play: Play, target: TargetServer) -> None:
    target.go.set()
    async with await play.wire() as wire:
        answer = await wire.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        assert answer.body == b"data: 1\n\ndata: 2\n\n"
        assert (answer.header("transfer-encoding"), answer.header("connection")) == (None, "close")
    assert target.requests[0].header("host") == "localhost"


async def test_http_1_0_may_ask_to_keep_the_connection(play: Play) -> None:
    async with await play.wire() as wire:
        for _ in range(2):
            answer = await wire.ask(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (answer.body, answer.header("connection")) == (b"a", "keep-alive")


@pytest.mark.parametrize("path", ["/until-close", "/http10"])
async def test_a_target_that_closes_after_its_answer_costs_the_client_nothing(
    play: Play, target: TargetServer, path: str
) -> None:
    async with await play.wire() as wire:
        answer = await wire.ask(get(path))
        assert answer.is_complete
        assert answer.body in (b"all there is", b"old")
        assert (await wire.ask(get("/hello"))).body == b"a"
    assert target.connections == 2


async def test_bytes_behind_a_response_never_answer_another_request(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        assert (await wire.ask(get("/extra"))).body == b"ok"
        assert (await wire.ask(get("/hello"))).body == b"a"
    assert target.connections == 2


async def test_a_pooled_connection_that_its_target_closed_is_not_used_again(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        await wire.ask(get("/hello"))
        for writer in list(target.open):
            writer.close()
        await target.wait_until(lambda: not target.open)
        assert (await wire.ask(get("/hello"))).body == b"a"


@pytest.mark.fidelity("ALB-HTTP-19", source="API-ELB LoadBalancerAttribute", mark="doc")
async def test_a_connection_lives_no_longer_than_client_keep_alive(play: Play) -> None:
    await play.publish("a", load_balancer=LoadBalancerSettings(client_keep_alive_s=0.1))
    async with await play.wire() as wire:
        closing = None
        while closing is None:
            answer = await wire.ask(get("/hello"))
            closing = answer if answer.header("connection") == "close" else None
        assert await wire.until_closed() == b""


async def test_an_idle_client_is_closed_without_a_word(play: Play) -> None:
    await play.publish("a", load_balancer=IMPATIENT)
    async with await play.wire() as wire:
        await wire.ask(get("/hello"))
        assert await wire.until_closed() == b""


# --- messages ---------------------------------------------------------------------------------------------


async def test_head_has_the_length_and_no_body(play: Play) -> None:
    async with await play.wire() as wire:
        answer = await wire.ask(request("HEAD", "/hello"))
        assert (answer.header("content-length"), answer.body) == ("1", b"")
        assert (await wire.ask(get("/hello"))).body == b"a"


@pytest.mark.parametrize("path", ["/204", "/304"])
async def test_statuses_without_body_have_no_length_either(play: Play, target: TargetServer, path: str) -> None:
    async with await play.wire() as wire:
        answer = await wire.ask(get(path))
        assert (answer.header("content-length"), answer.header("transfer-encoding")) == (None, None)
        assert (await wire.ask(get("/hello"))).body == b"a"
    assert target.connections == 1


async def test_expect_100_continue_is_answered_here(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        wire.send(request("POST", "/size", Content_Length="4", Expect="100-continue"))
        assert (await wire.head())[0] == 100
        wire.send(b"body")
        assert (await wire.response()).body == b"4"
    assert target.requests[0].header("expect") is None


async def test_interim_responses_end_here(play: Play) -> None:
    async with await play.wire() as wire:
        assert [(await wire.ask(get(path))).body for path in ("/interim", "/hello")] == [b"ok", b"a"]


async def test_an_answer_before_the_upload_is_complete_reaches_the_client(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        wire.send(request("POST", "/early", Content_Length="1000000") + b"x" * 1000)
        answer = await wire.response()
        assert (answer.status, answer.body, answer.header("connection")) == (413, b"enough", "close")
        wire.send(b"x" * 100_000)
        assert await wire.until_closed() == b""


@pytest.mark.fidelity("ALB-HTTP-26", source="ALB-UG/load-balancer-cloudwatch-metrics", mark="doc")
async def test_an_error_of_the_target_is_the_targets(play: Play) -> None:
    assert (await play.ask(get("/500"))).body == b"oops"
    totals = (await play.stage.control("GET", "/v1/counters"))[1]["totals"]
    assert (totals["HTTPCode_Target_5XX_Count"], totals.get("HTTPCode_ELB_5XX_Count")) == (1, None)


@pytest.mark.fidelity("ALB-HTTP-15", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/garbage", "MalformedResponse"),
        ("/two-lengths", "MalformedResponse"),
        ("/bad-chunk", "MalformedResponse"),
        ("/switch", "MalformedResponse"),
        ("/headers-33k", "ResponseHeadTooLarge"),
        ("/close", "TargetClosedConnection"),
    ],
)
async def test_what_is_no_answer_is_502_with_its_reason_in_the_log(play: Play, path: str, reason: str) -> None:
    answer = await play.ask(get(path))
    assert (answer.status, answer.body) == (502, PAGE_502)
    (entry,) = await play.entries(1)
    assert (entry.elb_status_code, entry.target_status_code, entry.error_reason) == ("502", "-", reason)
    assert entry.target == "id-a"
    assert entry.target_processing_time == -1


async def test_response_headers_of_31_kib_pass(play: Play) -> None:
    assert len((await play.ask(get("/headers-31k"))).header("x-big") or "") == 31 * 1024


@pytest.mark.fidelity("ALB-HTTP-16", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
async def test_a_target_that_does_not_accept_is_504(play: Play) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for sock in (first, second):
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            address = f"127.0.0.1:{full.getsockname()[1]}"
            node = NodeTable("node-0", (RoutableTarget("id-f", address, "healthy", new=True, sticky=True),))
            quick = LoadBalancerSettings(connect_timeout_s=0.1)
            await play.stage.balancer.publish(replace(play.table, generation=9, nodes=(node,), load_balancer=quick))
            assert (await play.ask(get("/hello"))).status == 504
    (entry,) = await play.entries(1)
    assert (entry.target, entry.error_reason, entry.request_processing_time) == ("id-f", "TargetConnectTimeout", -1)


# --- clients that mean no good ------------------------------------------------------------------------------


@pytest.mark.fidelity("ALB-HTTP-6", "ALB-HTTP-8", "ALB-HTTP-13", "ALB-HTTP-24")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="tls_hello"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare_lf"),
        pytest.param(b"GET /" + b"x" * 17_000, 400, id="endless_request_line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 12_000, 400, id="endless_headers"),
        pytest.param(request("TRACE", "/"), 405, id="trace"),
        pytest.param(get("/", Transfer_Encoding="gzip"), 501, id="gzip"),
        pytest.param(get("/", X_Forwarded_For=",".join(["1.1.1.1"] * 31)), 463, id="many_forwarded"),
        pytest.param(get("/").replace(b"1.1\r", b"2.0\r"), 505, id="version"),
        pytest.param(request("POST", "/", Transfer_Encoding="chunked") + b"5\nhello", 400, id="bad_chunk"),
        pytest.param(
            request("POST", "/", Content_Length="6", Transfer_Encoding="chunked") + b"0\r\n\r\nGET /evil",
            400,
            id="cl_te",
        ),
    ],
)
async def test_what_is_refused_is_answered_closed_logged_and_never_forwarded(
    play: Play, target: TargetServer, data: bytes, status: int
) -> None:
    async with await play.wire() as wire:
        answer = await wire.ask(data)
        assert (answer.status, answer.header("connection"), answer.header("server")) == (status, "close", "awselb/2.0")
        assert await wire.until_closed() == b""
    assert target.requests == []
    (entry,) = await play.entries(1)
    assert (entry.elb_status_code, entry.target, entry.request_processing_time) == (str(status), "-", -1.0)
    assert (await play.ask(get("/hello"))).body == b"a"


async def test_a_chunk_that_turns_bad_ends_both_connections(play: Play, target: TargetServer) -> None:
    async with await play.wire() as wire:
        wire.send(request("POST", "/size", Transfer_Encoding="chunked") + b"5\r\nhello\r\n")
        await target.wait_until(lambda: bool(target.requests) and len(target.requests[0].body) == 5)
        wire.send(b"zz\r\n")
        assert (await wire.response()).status == 400
        assert await wire.until_closed() == b""
    await target.wait_until(lambda: not target.open)
    assert not target.requests[0].is_complete


@pytest.mark.parametrize("trickle", [b"", b"X"])
async def test_a_head_that_does_not_end_is_408_even_if_bytes_trickle(play: Play, trickle: bytes) -> None:
    await play.publish("a", load_balancer=IMPATIENT)
    async with await play.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        answer = asyncio.create_task(wire.response())
        while not answer.done():
            if trickle:
                wire.send(trickle)
            await asyncio.sleep(0.02)
        assert (await answer).status == 408


async def test_a_body_that_does_not_end_is_408(play: Play, target: TargetServer) -> None:
    await play.publish("a", load_balancer=IMPATIENT)
    async with await play.wire() as wire:
        wire.send(request("POST", "/size", Content_Length="10") + b"half")
        assert (await wire.response()).status == 408
        assert await wire.until_closed() == b""
    await target.wait_until(lambda: not target.open)


async def test_a_reader_that_stops_is_closed_after_the_idle_timeout(play: Play, target: TargetServer) -> None:
    await play.publish("a", load_balancer=IMPATIENT)
    async with await Wire.to(play.stage.port, limit=1024) as wire:
        wire.send(get("/flood"))
        await target.wait_until(lambda: bool(target.requests) and not target.open)
    assert len(target.requests[0].body) < 1024


async def test_a_client_that_leaves_while_its_connection_is_made_disturbs_nobody(play: Play) -> None:
    for _ in range(20):
        async with await play.wire() as wire:
            wire.send(get("/hello"))
    assert (await play.ask(get("/hello"))).body == b"a"
    async with asyncio.timeout(DEADLINE_S):
        while await play.outstanding():
            await asyncio.sleep(0)


SPOILERS = (b"\0", b"\n", b"\r", b"\r\n", b" ", b"\t", b":", b"\xff", b"\x7f", b"\r\n\r\n", b"0\r\n\r\n", b"\x0b", b";")
SEEDS = (
    get("/hello", Cookie="AWSALB=x", X_Forwarded_For="1.1.1.1", Connection="keep-alive"),
    request("POST", "/size", b"hello world"),
    request("POST", "/size", Transfer_Encoding="chunked") + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    request("POST", "/size", Content_Length="4", Expect="100-continue") + b"body",
    get("/hello", Connection="Upgrade", Upgrade="websocket"),
)


LINES = (
    *(
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Host: b",
    ),
    *(b"Connection: close, content-length", b"Connection: transfer-encoding", b"Expect: 100-continue", b"TE: trailers"),
    *(
        b"Upgrade: websocket",
        b"Connection: upgrade",
        b"X-Forwarded-For: ::1",
        b"X: \xe9",
        b"Content-length : 5",
        b" folded",
    ),
)


def spoiled(chance: Random) -> bytes:
    """A request with one to three lines or bytes inserted, removed, doubled or replaced."""
    data = chance.choice(SEEDS)
    for _ in range(chance.randint(1, 3)):
        lines = data.split(b"\r\n")
        at, byte = chance.randrange(len(lines)), chance.randrange(len(data))
        match chance.randrange(6):
            case 0 | 1:
                lines.insert(max(1, at), chance.choice(LINES))
            case 2:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 3:
                del lines[at]
            case 4:
                lines = [data[:byte] + chance.choice(SPOILERS) + data[byte:]]
            case _:
                lines = [data[:byte] + chance.randbytes(1) + data[byte + 1 :]]
        data = b"\r\n".join(lines) or b"\r\n"
    return data


@pytest.mark.parametrize("seed", range(4))
async def test_spoiled_requests_crash_nothing_and_reach_no_target_malformed(
    play: Play, target: TargetServer, seed: int
) -> None:
    """What a target objects to fails its fixture. Every connection ends: refused, answered, timed out, or left."""
    chance = Random(seed)
    await play.publish("a", load_balancer=LoadBalancerSettings(idle_timeout_s=0.1))

    async def intrude(data: bytes, cut: int, leaves: bool) -> None:
        async with await play.wire() as wire:
            wire.send(data[:cut])
            await asyncio.sleep(0)
            wire.send(data[cut:])
            if leaves:
                wire.writer.write_eof()
            await wire.until_closed()

    for _ in range(3):
        attempts = [spoiled(chance) + get("/hello", Connection="close") for _ in range(25)]
        cuts = [(chance.randint(0, len(data)), chance.random() < 0.2) for data in attempts]
        await asyncio.gather(*(intrude(data, *cut) for data, cut in zip(attempts, cuts, strict=True)))
    assert (await play.ask(get("/hello"))).body == b"a"
    async with asyncio.timeout(DEADLINE_S):
        while await play.outstanding():
            await asyncio.sleep(0)


# --- the end of the balancer ----------------------------------------------------------------------------------


async def test_a_balancer_that_stops_lets_requests_in_flight_end(
    play: Play, stage: Stage, target: TargetServer
) -> None:
    async with await play.wire() as idle, await play.wire() as wire:
        await idle.ask(get("/hello"))
        wire.send(get("/wait"))
        await target.wait_until(lambda: len(target.requests) == 2)
        stopping = asyncio.create_task(stage.server.stop(grace_s=DEADLINE_S))
        assert await idle.until_closed() == b""
        target.go.set()
        answer = await wire.response()
        assert (answer.body, answer.header("connection")) == (b"a", "close")
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await Wire.to(stage.port)


async def test_a_balancer_that_stops_at_once_cuts_what_is_left(play: Play, stage: Stage, target: TargetServer) -> None:
    async with await play.wire() as wire:
        wire.send(get("/stream"))
        await wire.head()
        await stage.server.stop()
        assert await wire.until_closed() in (b"9\r\ndata: 1\n\n\r\n", b"")
    await target.wait_until(lambda: not target.open)
