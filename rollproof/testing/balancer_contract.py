"""What every data plane promises, as a suite that the embedded balancer and nginx both pass.

    class TestEmbeddedBalancerKeepsTheContract(BalancerContract):
        @pytest.fixture
        async def stage(self, tmp_path): ...  # yields a BalancerStage with no table yet

Real connections on loopback, targets that record what reaches them (`balancer_target`), a client without
mercy (`balancer_wire`). After every test no target may have anything to object to.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Protocol

import pytest

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.errors import Permanent
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Algorithm, LoadBalancerSettings, Stickiness, StickinessType
from rollproof.orchestrator.ports import Balancer
from rollproof.testing.balancer_target import DEADLINE_S, TargetServer
from rollproof.testing.balancer_wire import Response, Wire, get, request

ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/mcp/73e2d6bc24d8a067"
LB_COOKIE = Stickiness(enabled=True, type=StickinessType.LB_COOKIE, duration_s=60.0)
APP_COOKIE = Stickiness(enabled=True, type=StickinessType.APP_COOKIE, duration_s=60.0, cookie_name="SESSION")
PAGE_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


class BalancerStage(Protocol):
    """One data plane under test."""

    @property
    def balancer(self) -> Balancer: ...

    @property
    def port(self) -> int: ...

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call of the control interface: status and JSON."""


class Play:
    """A data plane, its targets, and the table in force."""

    def __init__(self, stage: BalancerStage, *targets: TargetServer) -> None:
        self.stage, self.targets = stage, targets
        self.table = RoutingTable(0, (NodeTable("node-0"),), target_group_arn=ARN)
        self.tables = [self.table]  # all so far; the last one may be on its way
        self.in_force = 0  # index of the last whose publish has returned

    async def publish(self, *nodes: str, **changes: Any) -> RoutingTable:
        """A table of the next generation. A node is written as "a b~": b~ drains (neither new nor sticky).
        `changes` are RoutingTable's fields."""
        rows = tuple(NodeTable(f"node-{n}", self._row(text)) for n, text in enumerate(nodes))
        self.table = replace(self.table, generation=self.table.generation + 1, nodes=rows, **changes)
        self.tables.append(self.table)
        await self.stage.balancer.publish(self.table)
        self.in_force = len(self.tables) - 1
        return self.table

    def _row(self, text: str) -> tuple[RoutableTarget, ...]:
        addresses = {target.name: target.address for target in self.targets}
        return tuple(
            RoutableTarget(
                id=f"id-{word[0]}",
                address=addresses[word[0]],
                state="draining" if word.endswith("~") else "healthy",
                new=not word.endswith("~"),
                sticky=not word.endswith("~"),
            )
            for word in text.split()
        )

    def wire(self) -> Any:
        """`async with play.wire() as wire` in two steps: connections go round the nodes."""
        return Wire.to(self.stage.port)

    async def ask(self, data: bytes) -> Response:
        """One request on a connection of its own."""
        async with await Wire.to(self.stage.port) as wire:
            return await wire.ask(data)

    async def entries(self, count: int) -> list[AccessLogEntry]:
        """The first `count` lines of the access log."""
        found: list[AccessLogEntry] = []
        async with asyncio.timeout(DEADLINE_S):
            async for _, entry in self.stage.balancer.access_log(0):
                found.append(entry)
                if len(found) == count:
                    break
        return found

    async def outstanding(self) -> int:
        return sum(counted.outstanding for counted in (await self.stage.balancer.counters()).values())


class _Fixtures:
    @pytest.fixture
    async def targets(self) -> AsyncIterator[tuple[TargetServer, ...]]:
        servers = tuple(TargetServer(name) for name in "abc")
        for server in servers:
            await server.start()
        yield servers
        for server in servers:
            await server.stop()
        assert [v for server in servers for v in server.violations] == []

    @pytest.fixture
    async def play(self, stage: BalancerStage, targets: tuple[TargetServer, ...]) -> Play:
        return Play(stage, *targets)


class ControlContract(_Fixtures):
    """The table, its generation, the counters, the log."""

    async def test_before_the_first_table_every_request_is_answered_with_503(self, play: Play) -> None:
        assert (await play.ask(get("/hello"))).status == 503
        assert (await play.stage.control("GET", "/v1/table"))[0] == 404

    async def test_the_same_generation_again_changes_nothing(self, play: Play) -> None:
        table = await play.publish("a")
        await play.stage.balancer.publish(replace(table, nodes=(NodeTable("node-0"),)))
        assert (await play.ask(get("/hello"))).body == b"a"

    async def test_an_older_generation_is_refused_with_409_and_changes_nothing(self, play: Play) -> None:
        old = await play.publish("b")
        new = await play.publish("a")
        with pytest.raises(Permanent):
            await play.stage.balancer.publish(old)
        assert (await play.stage.control("PUT", "/v1/table", old.to_json()))[0] == 409
        assert RoutingTable.from_json((await play.stage.control("GET", "/v1/table"))[1]) == new

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"nodes": []}, "at least one node"),
            ({"generation": -3}, "generation"),
            ({"algorithm": "best"}, "best"),
            ({"nodes": [{"id": "node-0", "targets": [{"id": "x"}]}]}, "missing"),
        ],
    )
    async def test_what_is_no_table_is_refused_with_400_and_a_reason(
        self, play: Play, change: dict[str, Any], reason: str
    ) -> None:
        table = await play.publish("a")
        status, answer = await play.stage.control("PUT", "/v1/table", {**table.to_json(), "generation": 9, **change})
        assert status == 400
        assert reason in answer["error"]

    async def test_counters_count_by_target(self, play: Play) -> None:
        await play.publish("a b")
        async with await play.wire() as wire:
            for _ in range(6):
                await wire.ask(get("/hello"))
        counters = await play.stage.balancer.counters()
        assert {name: (c.outstanding, c.requests, c.connections) for name, c in counters.items()} == {
            "id-a": (0, 3, 1),
            "id-b": (0, 3, 1),
        }

    async def test_a_request_in_flight_is_outstanding_until_it_ends(self, play: Play) -> None:
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(get("/wait"))
            await target.wait_until(lambda: len(target.requests) == 1)
            assert (await play.stage.balancer.counters())["id-a"].outstanding == 1
            target.go.set()
            assert (await wire.response()).body == b"a"
        assert await play.outstanding() == 0

    async def test_the_access_log_has_a_line_for_each_request(self, play: Play) -> None:
        await play.publish("a")
        answer = await play.ask(request("POST", "/size?q=1", b"12345", User_Agent='evil "agent"', Cookie="secret=1"))
        (entry,) = await play.entries(1)
        assert (entry.type, entry.elb_status_code, entry.target_status_code) == ("http", "200", "200")
        assert (entry.target, entry.target_group_arn) == ("id-a", ARN)
        assert entry.request == "POST http://lb.example:80/size?q=1 HTTP/1.1"
        assert entry.user_agent == 'evil "agent"'
        assert entry.sent_bytes == len(answer.head) + len(answer.body)
        assert 0 <= entry.target_processing_time < DEADLINE_S
        assert len(entry.time) == len("2026-07-02T22:23:00.186641Z")
        assert entry.trace_id == play.targets[0].requests[0].header("x-amzn-trace-id")
        assert "secret" not in repr(entry)

    async def test_the_access_log_is_followed_from_an_offset(self, play: Play) -> None:
        await play.publish("a")
        await play.ask(get("/first"))
        log = play.stage.balancer.access_log(0)
        offset, first = await anext(log)
        await play.ask(get("/second"))
        _, second = await anext(play.stage.balancer.access_log(offset))
        assert [first.request.split("/")[3], second.request.split("/")[3]] == ["first HTTP", "second HTTP"]


class RoutingContract(_Fixtures):
    """Who gets a request: algorithm, cookies, nodes, drain."""

    async def test_without_cookies_requests_go_round_even_on_one_connection(self, play: Play) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            assert [(await wire.ask(get("/hello"))).body for _ in range(4)] == [b"a", b"b", b"a", b"b"]

    async def test_connections_go_round_the_nodes_and_each_node_has_its_own_turn_and_view(self, play: Play) -> None:
        await play.publish("a", "b c")
        bodies = [(await play.ask(get("/hello"))).body for _ in range(4)]
        assert bodies in ([b"a", b"b", b"a", b"c"], [b"b", b"a", b"c", b"a"])

    async def test_least_outstanding_requests_avoids_the_busy_target(self, play: Play) -> None:
        await play.publish("a b", algorithm=Algorithm.LEAST_OUTSTANDING_REQUESTS)
        async with await play.wire() as busy:
            busy.send(get("/wait"))
            await play.targets[0].wait_until(lambda: len(play.targets[0].requests) == 1)
            assert {(await play.ask(get("/hello"))).body for _ in range(5)} == {b"b"}

    async def test_weighted_random_uses_all_targets(self, play: Play) -> None:
        await play.publish("a b", algorithm=Algorithm.WEIGHTED_RANDOM)
        async with await play.wire() as wire:
            counts = Counter([(await wire.ask(get("/hello"))).body for _ in range(60)])
        assert min(counts[b"a"], counts[b"b"]) > 5

    async def test_no_target_is_503(self, play: Play) -> None:
        await play.publish("a~", stickiness=LB_COOKIE)
        answer = await play.ask(get("/hello"))
        assert (answer.status, answer.header("content-length"), answer.all("set-cookie")) == (503, "162", [])

    @pytest.mark.fidelity(id="stickiness.every_response", source="ALB-UG/sticky-sessions", mark="doc")
    async def test_both_cookies_come_new_with_every_response_and_bind_the_client(self, play: Play) -> None:
        await play.publish("a b", "a b", stickiness=LB_COOKIE)
        first = await play.ask(get("/hello"))
        seen = {first.cookie}
        for _ in range(5):  # each on another connection, so on either node
            answer = await play.ask(get("/hello", Cookie=first.cookie))
            assert answer.body == first.body
            seen.add(answer.cookie)
        assert len(seen) == 6

    @pytest.mark.fidelity(id="stickiness.cookie_shape", source="aws-behaviour 5: captures", mark="observed")
    async def test_the_cookies_look_like_aws_cookies(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        alb, cors = (await play.ask(get("/hello"))).all("set-cookie")
        name, _, value = alb.partition(";")[0].partition("=")
        assert (name, len(value), "=" in value) == ("AWSALB", 124, False)
        assert cors == alb.replace("AWSALB=", "AWSALBCORS=") + "; SameSite=None"
        parts = alb.split("; ")
        assert parts[2:] == ["Path=/"]
        expires = time.mktime(time.strptime(parts[1], "Expires=%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
        assert expires - time.time() == pytest.approx(7 * 86400, abs=5)

    async def test_an_https_listener_makes_the_cors_cookie_secure(self, play: Play) -> None:
        secure = LoadBalancerSettings(listener_port=443, listener_protocol="HTTPS")
        await play.publish("a", stickiness=LB_COOKIE, load_balancer=secure)
        answer = await play.ask(get("/hello"))
        assert answer.all("set-cookie")[1].endswith("; Path=/; SameSite=None; Secure")
        assert play.targets[0].requests[0].header("x-forwarded-proto") == "https"

    async def test_awsalbcors_alone_binds_too(self, play: Play) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        first = await play.ask(get("/hello"))
        cors = first.cookie.partition("; ")[2]
        assert {(await play.ask(get("/hello", Cookie=cors))).body for _ in range(4)} == {first.body}

    @pytest.mark.fidelity(id="stickiness.bad_cookie", source="ALB-UG/sticky-sessions", mark="doc")
    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda v: "x" + v[1:] if v[0] != "x" else "y" + v[1:], id="tampered"),
            pytest.param(lambda v: v[:-4], id="cut"),
            pytest.param(lambda v: "%3D" + v, id="url_encoded"),
            pytest.param(lambda v: "", id="empty"),
            pytest.param(lambda v: v * 40, id="long"),
        ],
    )
    async def test_a_cookie_that_says_nothing_is_no_error(self, play: Play, spoil: Any) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        value = (await play.ask(get("/hello"))).all("set-cookie")[0].partition(";")[0].partition("=")[2]
        before = await self._non_sticky(play)
        async with await play.wire() as wire:
            answers = [await wire.ask(get("/hello", Cookie=f"AWSALB={spoil(value)}")) for _ in range(4)]
        assert Counter(answer.body for answer in answers) == {b"a": 2, b"b": 2}
        assert all(len(answer.all("set-cookie")) == 2 for answer in answers)
        assert await self._non_sticky(play) == before + 4

    async def _non_sticky(self, play: Play) -> int:
        return int((await play.stage.control("GET", "/v1/counters"))[1]["totals"]["NonStickyRequestCount"])

    async def test_the_duration_counts_inside_the_cookie(self, play: Play) -> None:
        await play.publish("a b", stickiness=replace(LB_COOKIE, duration_s=0.001))
        async with await play.wire() as wire:
            answer = await wire.ask(get("/hello"))
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                await asyncio.sleep(0)
            assert (await wire.ask(get("/hello", Cookie=answer.cookie))).body != answer.body

    @pytest.mark.fidelity(id="drain.sticky_moves", source="ALB-UG/sticky-sessions", mark="inferred")
    async def test_a_cookie_for_a_draining_target_moves_the_client_for_good(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        first = await play.ask(get("/hello"))
        await play.publish("a~ b", stickiness=LB_COOKIE)
        moved = await play.ask(get("/hello", Cookie=first.cookie))
        assert moved.body == b"b"
        await play.publish("a b", stickiness=LB_COOKIE)
        assert {(await play.ask(get("/hello", Cookie=moved.cookie))).body for _ in range(4)} == {b"b"}

    @pytest.mark.fidelity(id="drain.propagation_by_node", source="LBC#2366", mark="observed")
    async def test_a_node_that_has_not_heard_of_the_drain_still_routes_there(self, play: Play) -> None:
        await play.publish("a", "a", stickiness=LB_COOKIE)
        cookie = (await play.ask(get("/hello"))).cookie
        await play.publish("a~ b", "a b", stickiness=LB_COOKIE)
        bodies = [(await play.ask(get("/hello", Cookie=cookie))).body for _ in range(4)]
        assert sorted(bodies) == [b"a", b"a", b"b", b"b"]

    @pytest.mark.fidelity(id="drain.keep_alive_does_not_pin", source="ALB-UG: routes each request", mark="doc")
    async def test_an_open_connection_does_not_keep_a_client_on_a_draining_target(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            first = await wire.ask(get("/hello"))
            await play.publish("a~ b", stickiness=LB_COOKIE)
            assert (await wire.ask(get("/hello", Cookie=first.cookie))).body == b"b"

    async def test_the_targets_own_cookies_survive_in_front_of_the_balancers(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        names = [c.partition("=")[0] for c in (await play.ask(get("/cookie"))).all("set-cookie")]
        assert names == ["SESSION", "theme", "AWSALB", "AWSALBCORS"]

    async def test_app_cookie_is_issued_when_the_target_sets_the_named_cookie(self, play: Play) -> None:
        await play.publish("a b", stickiness=APP_COOKIE)
        assert (await play.ask(get("/hello"))).all("set-cookie") == []
        cookies = (await play.ask(get("/cookie"))).all("set-cookie")
        shard, *unused = [c.partition(";")[0].partition("=") for c in cookies[2:]]
        assert shard[0] == "AWSALBAPP-0"
        assert shard[2].startswith("AAAAAAAAAA")
        assert len(shard[2]) == 144
        assert unused == [(f"AWSALBAPP-{n}", "=", "_remove_") for n in (1, 2, 3)]

    async def test_app_cookie_binds_only_who_returns_both(self, play: Play) -> None:
        await play.publish("a b", stickiness=APP_COOKIE)
        async with await play.wire() as wire:
            cookies = (await wire.ask(get("/cookie"))).cookie.split("; ")
            shard = next(c for c in cookies if c.startswith("AWSALBAPP-0"))
            both = [await wire.ask(get("/hello", Cookie=f"SESSION=s1; {shard}")) for _ in range(4)]
            assert {answer.body for answer in both} == {b"a"}
            assert all(len(answer.all("set-cookie")) == 4 for answer in both)
            for alone in (shard, "SESSION=s1"):
                answers = [await wire.ask(get("/hello", Cookie=alone)) for _ in range(2)]
                assert {answer.body for answer in answers} == {b"a", b"b"}

    async def test_table_changes_under_load_misroute_nothing(self, play: Play) -> None:
        """After a publish has returned, no request reaches a target that the table does not allow; none fails."""
        rows, stop = ("a b", "b c", "c a"), asyncio.Event()
        await play.publish(rows[0], rows[0], stickiness=LB_COOKIE)
        wrong: list[str] = []

        async def user() -> None:
            cookie = ""
            async with await play.wire() as wire:
                while not stop.is_set():
                    since = play.in_force
                    answer = await wire.ask(get("/hello", **({"Cookie": cookie} if cookie else {})))
                    cookie = answer.cookie
                    allowed = {t.id for table in play.tables[since:] for t in table.nodes[0].targets}
                    if answer.status != 200 or f"id-{answer.body.decode()}" not in allowed:
                        wrong.append(f"{answer.status} {answer.body!r} of {allowed}")

        users = [asyncio.create_task(user()) for _ in range(4)]
        for n in range(60):
            row = rows[n % 3]
            await play.publish(row, row, stickiness=LB_COOKIE)
        stop.set()
        await asyncio.gather(*users)
        assert wrong == []


class StreamContract(_Fixtures):
    """What is not over at once: streams, uploads, tunnels, and their end."""

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

    @pytest.mark.fidelity(id="websocket.pinned", source="ALB-UG/sticky-sessions", mark="doc")
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

    @pytest.mark.fidelity(id="drain.in_flight_ends", source="ALB-UG/edit-target-group-attributes", mark="doc")
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

    async def test_idle_connections_to_a_target_that_left_are_closed(self, play: Play) -> None:
        await play.publish("a")
        await play.ask(get("/hello"))
        assert len(play.targets[0].open) == 1
        await play.publish("b")
        await play.targets[0].wait_until(lambda: not play.targets[0].open)

    @pytest.mark.fidelity(id="drain.cut", source="ALB-UG/load-balancer-troubleshooting (502)", mark="doc")
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

    @pytest.mark.fidelity(id="no_retry", source="LBC#2366", mark="observed")
    @pytest.mark.parametrize("path", ["/reset", "/close"])
    async def test_a_request_reaches_a_target_once_and_no_other(self, play: Play, path: str) -> None:
        await play.publish("a b")
        answer = await play.ask(get(path))
        assert (answer.status, answer.body, answer.header("server")) == (502, PAGE_502, "awselb/2.0")
        assert [len(target.requests) for target in play.targets] == [1, 0, 0]

    async def test_a_target_that_refuses_is_502_without_another_try(self, play: Play) -> None:
        await play.targets[0].stop()
        await play.publish("a b")
        async with await play.wire() as wire:
            statuses = [(await wire.ask(get("/hello"))).status for _ in range(4)]
        assert statuses == [502, 200, 502, 200]

    @pytest.mark.parametrize("path", ["/short", "/short-chunks"])
    async def test_a_response_that_breaks_off_breaks_off_for_the_client(self, play: Play, path: str) -> None:
        await play.publish("a")
        answer = await play.ask(get(path))
        assert (answer.status, answer.body, answer.is_complete) == (200, b"half", False)

    async def test_a_client_that_leaves_takes_its_request_with_it(self, play: Play) -> None:
        await play.publish("a")
        target = play.targets[0]
        async with await play.wire() as wire:
            wire.send(get("/wait"))
            await target.wait_until(lambda: len(target.requests) == 1)
        await target.wait_until(lambda: not target.open)
        assert [e.elb_status_code for e in await play.entries(1)] == ["460"]
        assert await play.outstanding() == 0

    async def test_no_answer_within_the_idle_timeout_is_504(self, play: Play) -> None:
        await play.publish("a", load_balancer=LoadBalancerSettings(idle_timeout_s=0.2))
        answer = await play.ask(get("/wait"))
        assert (answer.status, answer.header("content-length")) == (504, "132")

    async def test_a_stream_that_falls_silent_is_closed(self, play: Play) -> None:
        await play.publish("a", load_balancer=LoadBalancerSettings(idle_timeout_s=0.2))
        answer = await play.ask(get("/stream"))
        assert (answer.status, answer.body, answer.is_complete) == (200, b"data: 1\n\n", False)


class BalancerContract(ControlContract, RoutingContract, StreamContract):
    """All of it."""


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
