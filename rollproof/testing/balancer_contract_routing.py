"""The contract of data planes, part two: who gets a request. Algorithm, cookies, nodes, drain."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from rollproof.core.settings import Algorithm, LoadBalancerSettings
from rollproof.testing.balancer_play import APP_COOKIE, LB_COOKIE, Play, PlayFixtures
from rollproof.testing.balancer_wire import get


class RoutingContract(PlayFixtures):
    """Who gets a request: algorithm, cookies, nodes, drain."""

    @pytest.mark.fidelity("ALB-DRAIN-8", "ALB-STICKY-22")
    async def test_without_cookies_requests_go_round_even_on_one_connection(self, play: Play) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            assert [(await wire.ask(get("/hello"))).body for _ in range(4)] == [b"a", b"b", b"a", b"b"]

    @pytest.mark.fidelity("ALB-HEALTH-42", "TRAP-15")
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

    @pytest.mark.fidelity("ALB-HEALTH-33", "TRAP-18")
    async def test_no_target_is_503(self, play: Play) -> None:
        await play.publish("a~", stickiness=LB_COOKIE)
        answer = await play.ask(get("/hello"))
        assert (answer.status, answer.header("content-length"), answer.all("set-cookie")) == (503, "162", [])

    @pytest.mark.fidelity("ALB-HEALTH-36", "ALB-STICKY-10", "ALB-STICKY-11", "TRAP-15", "TRAP-16")
    async def test_both_cookies_come_new_with_every_response_and_bind_the_client(self, play: Play) -> None:
        await play.publish("a b", "a b", stickiness=LB_COOKIE)
        first = await play.ask(get("/hello"))
        seen = {first.cookie}
        for _ in range(5):  # each on another connection, so on either node
            answer = await play.ask(get("/hello", Cookie=first.cookie))
            assert answer.body == first.body
            seen.add(answer.cookie)
        assert len(seen) == 6

    @pytest.mark.fidelity("ALB-STICKY-2", "ALB-STICKY-3", "ALB-STICKY-5", "ALB-STICKY-6", "ALB-STICKY-8", "TRAP-16")
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

    @pytest.mark.fidelity("ALB-STICKY-4", source="CAPTURES", mark="observed")
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

    @pytest.mark.fidelity("ALB-DRAIN-7", "ALB-STICKY-14", "TRAP-4")
    async def test_a_cookie_for_a_draining_target_moves_the_client_for_good(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        first = await play.ask(get("/hello"))
        await play.publish("a~ b", stickiness=LB_COOKIE)
        moved = await play.ask(get("/hello", Cookie=first.cookie))
        assert moved.body == b"b"
        await play.publish("a b", stickiness=LB_COOKIE)
        assert {(await play.ask(get("/hello", Cookie=moved.cookie))).body for _ in range(4)} == {b"b"}

    @pytest.mark.fidelity("ALB-DRAIN-11", "TRAP-5")
    async def test_a_node_that_has_not_heard_of_the_drain_still_routes_there(self, play: Play) -> None:
        await play.publish("a", "a", stickiness=LB_COOKIE)
        cookie = (await play.ask(get("/hello"))).cookie
        await play.publish("a~ b", "a b", stickiness=LB_COOKIE)
        bodies = [(await play.ask(get("/hello", Cookie=cookie))).body for _ in range(4)]
        assert sorted(bodies) == [b"a", b"a", b"b", b"b"]

    @pytest.mark.fidelity("ALB-DRAIN-8", "TRAP-6")
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

    @pytest.mark.fidelity("ALB-STICKY-17", "ALB-STICKY-18")
    async def test_app_cookie_is_issued_when_the_target_sets_the_named_cookie(self, play: Play) -> None:
        await play.publish("a b", stickiness=APP_COOKIE)
        assert (await play.ask(get("/hello"))).all("set-cookie") == []
        cookies = (await play.ask(get("/cookie"))).all("set-cookie")
        shard, *unused = [c.partition(";")[0].partition("=") for c in cookies[2:]]
        assert shard[0] == "AWSALBAPP-0"
        assert shard[2].startswith("AAAAAAAAAA")
        assert len(shard[2]) == 144
        assert unused == [(f"AWSALBAPP-{n}", "=", "_remove_") for n in (1, 2, 3)]

    @pytest.mark.fidelity("ALB-STICKY-16", "ALB-STICKY-17")
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
