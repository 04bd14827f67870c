"""The contract of data planes, part three: what is not over at once. Streams, uploads, tunnels, and their end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rollproof.core.settings import LoadBalancerSettings
from rollproof.testing.balancer_play import LB_COOKIE, PAGE_502, Play, PlayFixtures
from rollproof.testing.balancer_target import DEADLINE_S
from rollproof.testing.balancer_wire import Wire, get, request


class StreamContract(PlayFixtures):
    """What is not over at once: streams, uploads, tunnels, and their end."""

    @pytest.mark.fidelity("ALB-HTTP-21", source="CAPTURES", mark="observed")
    async def test_a_streams_first_byte_comes_at_once(self, play: Play) -> None:
        await play.publish("a")
        async with await play.wire() as wire:
            await wire.ask(get("/hello"))
            started = time.perf_counter()
            wire.send(get("/stream"))
            await wire.head()
            assert await wire.chunk() == b"data: 1\n\n"
            assert time.perf_counter() - started < 0.05
            play.targets[0].go.set()
            assert await wire.chunk() == b"data: 2\n\n"
            assert await wire.chunk() == b""
            assert (await wire.ask(get("/hello"))).body == b"a"

    async def test_an_upload_is_streamed_not_gathered(self, play: Play) -> None:
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(request("POST", "/size", Transfer_Encoding="chunked") + b"5\r\nfirst\r\n")
            await target.wait_until(lambda: bool(target.requests) and target.requests[0].body == b"first")
            wire.send(b"6;ext=1\r\n second\r\n"[:7])
            wire.send(b"1\r\nsecond\r\n0\r\nTrailer: x\r\n\r\n")
            assert (await wire.response()).body == b"11"
        assert target.requests[0].header("transfer-encoding") == "chunked"
        assert target.requests[0].header("trailer") is None

    async def test_a_large_upload_arrives_whole(self, play: Play) -> None:
        await play.publish("a")
        body = bytes(range(256)) * 4096
        assert (await play.ask(request("POST", "/size", body))).body == b"1048576"
        assert bytes(play.targets[0].requests[0].body) == body

    @pytest.mark.parametrize("path", ["/flood", "/sip"])
    async def test_the_slow_side_stops_the_fast_one(self, play: Play, path: str) -> None:
        """64 MiB either way: what the balancer takes in is bounded by its buffers, not by the message."""
        await play.publish("a")
        target = play.targets[0]
        wire = await Wire.to(play.stage.port, limit=65536)
        async with wire:
            if path == "/flood":
                wire.send(get(path))
                await target.wait_until(lambda: bool(target.requests) and len(target.requests[0].body) > 2)
                await _stalls(lambda: len(target.requests[0].body))
                assert len(target.requests[0].body) < 512  # of 1,024 blocks of 64 KiB
                _, _, headers = await wire.head()
                assert len(await wire.reader.readexactly(int(dict(headers)["content-length"]))) == 64 * 1024 * 1024
            else:
                wire.send(request("POST", path, Content_Length=str(64 * 1024 * 1024)))
                feeding = asyncio.create_task(_feed(wire))
                await _stalls(wire.writer.transport.get_write_buffer_size)
                assert not feeding.done()
                target.go.set()
                await feeding
                assert (await wire.response()).body == b"67108864"

    @pytest.mark.fidelity("ALB-DRAIN-10", "ALB-STICKY-21", "ALB-HTTP-25")
    async def test_an_upgrade_becomes_a_tunnel_that_stays_on_its_target(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            wire.send(get("/ws", Connection="Upgrade", Upgrade="websocket") + b"early")
            status, head, _ = await wire.head()
            assert status == 101
            assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
            assert await wire.reader.readexactly(9) == b"hi:aearly"
            await play.publish("a~ b", stickiness=LB_COOKIE)
            wire.send(b"\x00\xffanything")
            assert await wire.reader.readexactly(10) == b"\x00\xffanything"
        (entry,) = await play.entries(1)
        assert (entry.type, entry.elb_status_code, entry.target) == ("ws", "101", "id-a")

    @pytest.mark.fidelity("ECS-TASK-41", "ALB-HEALTH-27", "ALB-DRAIN-6", "ALB-DRAIN-9")
    async def test_requests_in_flight_go_on_when_their_target_leaves_the_table(self, play: Play) -> None:
        await play.publish("a")
        async with await play.wire() as waiting, await play.wire() as streaming:
            waiting.send(get("/wait"))
            streaming.send(get("/stream"))
            await play.targets[0].wait_until(lambda: len(play.targets[0].requests) == 2)
            await play.publish("b")
            play.targets[0].go.set()
            assert (await waiting.response()).body == b"a"
            assert (await streaming.response()).body == b"data: 1\n\ndata: 2\n\n"
        await play.targets[0].wait_until(lambda: not play.targets[0].open)

    @pytest.mark.fidelity("ALB-DRAIN-13", "TRAP-7")
    async def test_a_stream_stays_on_its_draining_target_while_calls_with_its_cookie_move(self, play: Play) -> None:
        """The split session: until the delay ends, two tasks hold it."""
        await play.publish("a", stickiness=LB_COOKIE)
        async with await play.wire() as streaming, await play.wire() as calling:
            cookie = (await calling.ask(get("/hello"))).cookie
            streaming.send(get("/stream", Cookie=cookie))
            await streaming.head()
            assert await streaming.chunk() == b"data: 1\n\n"
            await play.publish("a~ b", stickiness=LB_COOKIE)
            assert (await calling.ask(get("/hello", Cookie=cookie))).body == b"b"
            play.targets[0].go.set()
            assert await streaming.chunk() == b"data: 2\n\n"

    @pytest.mark.fidelity("ALB-HTTP-22", source="ALB-UG/load-balancer-target-groups", mark="inferred")
    async def test_idle_connections_to_a_target_that_left_are_closed(self, play: Play) -> None:
        await play.publish("a")
        await play.ask(get("/hello"))
        assert len(play.targets[0].open) == 1
        await play.publish("b")
        await play.targets[0].wait_until(lambda: not play.targets[0].open)

    @pytest.mark.fidelity("ALB-DRAIN-9", "ALB-DRAIN-14", "ALB-DRAIN-15", "TRAP-8")
    async def test_cut_is_502_where_no_byte_has_come_and_truncates_where_one_has(self, play: Play) -> None:
        await play.publish("a")
        async with await play.wire() as waiting, await play.wire() as streaming, await play.wire() as tunnel:
            waiting.send(get("/wait"))
            streaming.send(get("/stream"))
            tunnel.send(get("/ws", Connection="Upgrade", Upgrade="websocket"))
            await streaming.head()
            await tunnel.head()
            await play.targets[0].wait_until(lambda: len(play.targets[0].requests) == 3)
            await play.publish("a~ b")
            assert await play.stage.balancer.cut("id-a") == 3
            answer = await waiting.response()
            assert (answer.status, answer.body) == (502, PAGE_502)
            assert await streaming.until_closed() in (b"9\r\ndata: 1\n\n\r\n", b"")
            assert await tunnel.until_closed() in (b"hi:a", b"")
            assert (await waiting.ask(get("/hello"))).body == b"b"
        await play.targets[0].wait_until(lambda: not play.targets[0].open)
        assert await play.outstanding() == 0

    async def test_cut_finds_requests_of_a_target_that_is_no_longer_in_the_table(self, play: Play) -> None:
        await play.publish("a")
        async with await play.wire() as wire:
            wire.send(get("/wait"))
            await play.targets[0].wait_until(lambda: len(play.targets[0].requests) == 1)
            await play.publish("b")
            assert await play.stage.balancer.cut("id-a") == 1
            assert (await wire.response()).status == 502

    async def test_cut_leaves_other_targets_alone(self, play: Play) -> None:
        await play.publish("a b")
        async with await play.wire() as wire:
            wire.send(get("/wait"))
            await play.targets[0].wait_until(lambda: len(play.targets[0].requests) == 1)
            assert await play.stage.balancer.cut("id-b") == 0
            assert await play.stage.balancer.cut("unknown") == 0
            play.targets[0].go.set()
            assert (await wire.response()).body == b"a"

    @pytest.mark.fidelity("ALB-DRAIN-5", "ALB-DRAIN-17", "ALB-HTTP-20", "TRAP-17")
    @pytest.mark.parametrize("path", ["/reset", "/close"])
    async def test_a_request_reaches_a_target_once_and_no_other(self, play: Play, path: str) -> None:
        await play.publish("a b")
        answer = await play.ask(get(path))
        assert (answer.status, answer.body, answer.header("server")) == (502, PAGE_502, "awselb/2.0")
        assert [len(target.requests) for target in play.targets] == [1, 0, 0]

    @pytest.mark.fidelity("ALB-HTTP-15", "ALB-HTTP-20", "TRAP-17")
    async def test_a_target_that_refuses_is_502_without_another_try(self, play: Play) -> None:
        await play.targets[0].stop()
        await play.publish("a b")
        async with await play.wire() as wire:
            statuses = [(await wire.ask(get("/hello"))).status for _ in range(4)]
        assert statuses == [502, 200, 502, 200]

    @pytest.mark.fidelity("ALB-DRAIN-17", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
    @pytest.mark.parametrize("path", ["/short", "/short-chunks"])
    async def test_a_response_that_breaks_off_breaks_off_for_the_client(self, play: Play, path: str) -> None:
        await play.publish("a")
        answer = await play.ask(get(path))
        assert (answer.status, answer.body, answer.is_complete) == (200, b"half", False)

    @pytest.mark.fidelity(
        "ALB-HTTP-17", source="ALB-UG/load-balancer-troubleshooting; API-ELB LoadBalancerAttribute", mark="doc"
    )
    async def test_no_answer_within_the_idle_timeout_is_504(self, play: Play) -> None:
        await play.publish("a", load_balancer=LoadBalancerSettings(idle_timeout_s=0.2))
        answer = await play.ask(get("/wait"))
        assert (answer.status, answer.header("content-length")) == (504, "132")

    @pytest.mark.fidelity(
        "ALB-HTTP-17", source="ALB-UG/load-balancer-troubleshooting; API-ELB LoadBalancerAttribute", mark="doc"
    )
    async def test_a_stream_that_falls_silent_is_closed(self, play: Play) -> None:
        await play.publish("a", load_balancer=LoadBalancerSettings(idle_timeout_s=0.2))
        answer = await play.ask(get("/stream"))
        assert (answer.status, answer.body, answer.is_complete) == (200, b"data: 1\n\n", False)


async def _stalls(measure: Any) -> None:
    """Until `measure` has not changed for a while: the other side no longer reads."""
    async with asyncio.timeout(DEADLINE_S):
        last, still = measure(), 0
        while still < 20:
            await asyncio.sleep(0.005)
            now = measure()
            still, last = (still + 1 if now == last and now else 0), now


async def _feed(wire: Wire) -> None:
    for _ in range(1024):
        wire.send(b"x" * 65536)
        await wire.writer.drain()
