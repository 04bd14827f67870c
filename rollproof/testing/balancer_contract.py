"""What every data plane promises, as a suite that the embedded balancer and nginx both pass.

class TestEmbeddedBalancerKeepsTheContract(BalancerContract):
    @pytest.fixture
    async def stage(self, tmp_path): ...  # yields a BalancerStage with no table yet
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollproof.core.errors import Permanent
from rollproof.core.routing_table import NodeTable, RoutingTable
from rollproof.testing.balancer_contract_clients import ClientContract
from rollproof.testing.balancer_contract_cookies import CookieContract
from rollproof.testing.balancer_contract_routing import RoutingContract
from rollproof.testing.balancer_contract_streams import StreamContract
from rollproof.testing.balancer_play import ARN, Play, PlayFixtures
from rollproof.testing.balancer_target import DEADLINE_S
from rollproof.testing.balancer_wire import get, request


class ControlContract(PlayFixtures):
    """The table, its generation, the counters, the log."""

    @pytest.mark.fidelity("ALB-HEALTH-33", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
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

    @pytest.mark.fidelity("ALB-HTTP-23", source="ALB-UG/load-balancer-access-logs", mark="doc")
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


class BalancerContract(ControlContract, RoutingContract, CookieContract, StreamContract, ClientContract):
    """All of it."""
