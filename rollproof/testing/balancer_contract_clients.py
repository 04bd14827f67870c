"""The contract of data planes, part five: clients that ask too much, stop half-way, or disappear."""

from __future__ import annotations

import asyncio

import pytest

from rollproof.core.settings import LoadBalancerSettings
from rollproof.testing.balancer_play import Play, PlayFixtures
from rollproof.testing.balancer_target import DEADLINE_S
from rollproof.testing.balancer_wire import Wire, get, request

IMPATIENT = LoadBalancerSettings(idle_timeout_s=0.2)
K = 1024


class ClientContract(PlayFixtures):
    """An ALB's limits, timeouts and statuses, whatever the client does."""

    answers_408 = True
    """Whether a request that stops half-way gets a page before its connection is closed. The log has 408 anyhow."""

    # --- limits ----------------------------------------------------------------------------------------

    @pytest.mark.fidelity("ALB-HTTP-8", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(get("/hello?" + "x" * 17 * K), id="request_line_of_17_k"),
            pytest.param(get("/hello", X="x" * 17 * K), id="header_line_of_17_k"),
            pytest.param(get("/hello", Cookie="AWSALB=" + "x" * 17 * K), id="cookie_of_17_k"),
            pytest.param(get("/hello", **{f"X{n}": "x" * 15 * K for n in range(5)}), id="headers_of_75_k"),
            pytest.param(get("/hello", **{f"X{n}": "x" * 100 for n in range(700)}), id="headers_of_75_k_in_small"),
        ],
    )
    async def test_a_head_over_the_limits_is_400_and_reaches_no_target(self, play: Play, data: bytes) -> None:
        await play.publish("a")
        async with await play.wire() as wire:
            answer = await wire.ask(data)
            assert (answer.status, answer.header("server"), answer.header("connection")) == (400, "awselb/2.0", "close")
            assert answer.body.startswith(b"<html>\r\n<head><title>400 Bad Request</title></head>\r\n")
            await wire.until_closed()
        assert play.targets[0].requests == []
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target, entry.classification) == ("400", "-", "Severe")
        assert (await play.ask(get("/hello"))).body == b"a"

    @pytest.mark.fidelity("ALB-HTTP-9", source="ALB-UG/load-balancer-limits", mark="doc")
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(get("/hello?" + "x" * 16_300), id="request_line_of_16_k"),
            pytest.param(get("/hello", X="x" * 16_300), id="header_line_of_16_k"),
            pytest.param(get("/hello", **{f"X{n}": "x" * 15 * K for n in range(4)}), id="headers_of_60_k"),
        ],
    )
    async def test_a_head_within_the_limits_arrives_whole(self, play: Play, data: bytes) -> None:
        await play.publish("a")
        assert (await play.ask(data)).body == b"a"
        (received,) = play.targets[0].requests
        assert len(received.path) + sum(len(value) for name, value in received.headers if name[:1] == b"x") > 16_300

    # --- half a request ------------------------------------------------------------------------------------

    @pytest.mark.fidelity("ALB-HTTP-11", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"GET /hel", id="request_line"),
            pytest.param(b"GET /hello HTTP/1.1\r\nHost: a\r\n", id="headers"),
            pytest.param(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Half: ", id="header"),
        ],
    )
    @pytest.mark.parametrize("trickle", [b"", b"x"], ids=["silent", "trickling"])
    async def test_half_a_head_ends_after_the_idle_timeout(self, play: Play, data: bytes, trickle: bytes) -> None:
        """However slowly more of it comes: the timeout is for the whole head."""
        await play.publish("a", load_balancer=IMPATIENT)
        async with await play.wire() as wire:
            wire.send(data)
            trickling = asyncio.create_task(_trickle(wire, trickle))
            await self._assert_timed_out(wire)
            trickling.cancel()
        assert play.targets[0].requests == []
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target) == ("408", "-")
        assert (await play.ask(get("/hello"))).body == b"a"

    @pytest.mark.fidelity("ALB-HTTP-11", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(request("POST", "/size", Content_Length="10") + b"half", id="length"),
            pytest.param(request("POST", "/size", Transfer_Encoding="chunked") + b"4\r\nhalf\r\n9\r\n", id="chunks"),
        ],
    )
    async def test_half_a_body_ends_after_the_idle_timeout(self, play: Play, data: bytes) -> None:
        await play.publish("a", load_balancer=IMPATIENT)
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(data)
            await target.wait_until(lambda: bool(target.requests) and target.requests[0].body == b"half")
            await self._assert_timed_out(wire)
        await target.wait_until(lambda: not target.open)
        assert not target.requests[0].is_complete
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target, entry.target_status_code) == ("408", "id-a", "-")
        assert await play.outstanding() == 0

    async def _assert_timed_out(self, wire: Wire) -> None:
        if self.answers_408:
            answer = await wire.response()
            assert (answer.status, answer.header("server"), answer.header("connection")) == (408, "awselb/2.0", "close")
        assert await wire.until_closed() == b""

    async def test_a_connection_that_says_nothing_is_closed_without_a_word(self, play: Play) -> None:
        await play.publish("a", load_balancer=IMPATIENT)
        async with await play.wire() as fresh, await play.wire() as kept:
            assert (await kept.ask(get("/hello"))).body == b"a"
            assert await fresh.until_closed() == b""
            assert await kept.until_closed() == b""
        assert [entry.elb_status_code for entry in await play.entries(1)] == ["200"]

    # --- clients that disappear ------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", [b"", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: "])
    async def test_a_client_that_disappears_before_its_request_is_whole_disturbs_nobody(
        self, play: Play, data: bytes
    ) -> None:
        await play.publish("a")
        async with await play.wire() as wire:
            wire.send(data)
        assert (await play.ask(get("/hello"))).body == b"a"
        assert len(play.targets[0].requests) == 1
        assert await play.outstanding() == 0

    @pytest.mark.fidelity("ALB-HTTP-10", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    async def test_a_client_that_disappears_within_its_body_is_400_in_the_log(self, play: Play) -> None:
        """One of the documented causes of 400: the client closed before it had sent its full body."""
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(request("POST", "/size", Content_Length="10") + b"half")
            await target.wait_until(lambda: bool(target.requests) and target.requests[0].body == b"half")
        await target.wait_until(lambda: not target.open)
        assert not target.requests[0].is_complete
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target, entry.target_status_code) == ("400", "id-a", "-")
        assert await play.outstanding() == 0

    @pytest.mark.fidelity("ALB-HTTP-12", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    async def test_a_client_that_disappears_before_its_answer_is_460_in_the_log(self, play: Play) -> None:
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(request("POST", "/wait", b"whole"))
            await target.wait_until(lambda: bool(target.requests) and target.requests[0].is_complete)
        await target.wait_until(lambda: not target.open)
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target, entry.target_status_code) == ("460", "id-a", "-")
        assert await play.outstanding() == 0

    async def test_a_client_that_disappears_within_its_answer_takes_the_targets_connection_along(
        self, play: Play
    ) -> None:
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(get("/stream"))
            await wire.head()
            assert await wire.chunk() == b"data: 1\n\n"
        await target.wait_until(lambda: not target.open)
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.target_status_code) == ("200", "200")
        async with asyncio.timeout(DEADLINE_S):
            while await play.outstanding():
                await asyncio.sleep(0)

    # --- older and politer ones ------------------------------------------------------------------------------

    async def test_expect_100_continue_is_answered_before_the_body_comes(self, play: Play) -> None:
        await play.publish("a")
        async with await play.wire() as wire:
            wire.send(request("POST", "/size", Content_Length="4", Expect="100-continue"))
            assert (await wire.head())[0] == 100
            wire.send(b"body")
            assert (await wire.response()).body == b"4"
        assert play.targets[0].requests[0].header("expect") is None

    async def test_http_1_0_gets_no_chunks_and_a_closed_connection(self, play: Play) -> None:
        await play.publish("a")
        play.targets[0].go.set()
        async with await play.wire() as wire:
            answer = await wire.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        assert answer.body == b"data: 1\n\ndata: 2\n\n"
        assert (answer.header("transfer-encoding"), answer.header("connection")) == (None, "close")
        assert play.targets[0].requests[0].header("host") == "localhost"


async def _trickle(wire: Wire, data: bytes) -> None:
    while data:
        wire.send(data)
        await asyncio.sleep(0.02)
