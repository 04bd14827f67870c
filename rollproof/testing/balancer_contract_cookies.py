"""The contract of data planes, part four: cookies that do not count. No error, a new target, a new cookie."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from rollproof.core.stickiness import LB_PLAINTEXT_SIZE, Claim, pack_claim
from rollproof.orchestrator.balancers.embedded.cookies import Seal
from rollproof.testing.balancer_play import APP_COOKIE, ARN, LB_COOKIE, Play, PlayFixtures
from rollproof.testing.balancer_wire import Response, get


class CookieContract(PlayFixtures):
    """Tampered with, stale, foreign, at odds, of a target that is gone."""

    @pytest.mark.fidelity("ALB-STICKY-7", "ALB-STICKY-12", "ALB-STICKY-13", "TRAP-16")
    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda v: "x" + v[1:] if v[0] != "x" else "y" + v[1:], id="tampered_nonce"),
            pytest.param(lambda v: v[:60] + ("x" if v[60] != "x" else "y") + v[61:], id="tampered_inside"),
            pytest.param(lambda v: v[:-1] + ("x" if v[-1] != "x" else "y"), id="tampered_tag"),
            pytest.param(lambda v: v[:-4], id="cut"),
            pytest.param(lambda v: v[:20], id="cut_short"),
            pytest.param(lambda v: v[:-4] + "====", id="padding"),
            pytest.param(lambda v: v[:-4] + '"\\\xff<', id="no_base64"),
            pytest.param(lambda v: "A" * 124, id="zeros"),
            pytest.param(lambda v: "%3D" + v, id="url_encoded"),
            pytest.param(lambda v: f'"{v}"', id="quoted"),
            pytest.param(lambda v: "", id="empty"),
            pytest.param(lambda v: v * 40, id="long"),
            pytest.param(lambda v: _foreign("id-a"), id="foreign_key"),
        ],
    )
    async def test_a_cookie_that_says_nothing_is_no_error(self, play: Play, spoil: Any) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        value = _value((await play.ask(get("/hello"))).cookie)
        await self._counts_for_nothing(play, f"AWSALB={spoil(value)}")

    async def test_nor_is_a_spoiled_cookie_of_an_application(self, play: Play) -> None:
        await play.publish("a b", stickiness=APP_COOKIE)
        given = (await play.ask(get("/cookie"))).cookie
        good = _value(given, "AWSALBAPP-0")
        bad = good[:80] + ("x" if good[80] != "x" else "y") + good[81:]
        async with await play.wire() as wire:
            answers = [await wire.ask(get("/hello", Cookie=given.replace(good, bad))) for _ in range(4)]
        assert Counter(answer.body for answer in answers) == {b"a": 2, b"b": 2}

    @pytest.mark.fidelity("ALB-STICKY-9", "ALB-STICKY-11", "TRAP-16")
    async def test_the_duration_counts_inside_the_cookie(self, play: Play) -> None:
        await play.publish("a b", stickiness=replace(LB_COOKIE, duration_s=0.001))
        stale = (await play.ask(get("/hello"))).cookie
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            await asyncio.sleep(0)
        await self._counts_for_nothing(play, stale)

    @pytest.mark.fidelity("ALB-STICKY-12", source="ALB-UG/sticky-sessions", mark="doc")
    async def test_a_cookie_of_another_target_group_counts_for_nothing(self, play: Play) -> None:
        """Known to the balancer or not: both the cookie it made last and the one it has read since."""
        await play.publish("a b", stickiness=LB_COOKIE)
        used = (await play.ask(get("/hello"))).cookie
        unused = (await play.ask(get("/hello", Cookie=used))).cookie
        await play.publish("a b", stickiness=LB_COOKIE, target_group_arn=ARN[:-1] + "0")
        for cookie in (used, unused):
            await self._counts_for_nothing(play, cookie)
        own = await play.ask(get("/hello"))
        assert {(await play.ask(get("/hello", Cookie=own.cookie))).body for _ in range(4)} == {own.body}

    @pytest.mark.fidelity("ALB-STICKY-12", source="ALB-UG/sticky-sessions", mark="doc")
    async def test_a_cookie_of_a_target_that_left_counts_for_nothing(self, play: Play) -> None:
        await play.publish("c", stickiness=LB_COOKIE)
        cookie = (await play.ask(get("/hello"))).cookie
        await play.publish("a b", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            answers = [await wire.ask(get("/hello", Cookie=cookie)) for _ in range(4)]
        _assert_spread_with_new_cookies(answers)
        assert {(await play.ask(get("/hello", Cookie=answers[0].cookie))).body for _ in range(4)} == {answers[0].body}

    @pytest.mark.fidelity("ALB-HTTP-27", source="CAPTURES", mark="inferred")
    async def test_of_two_cookies_at_odds_awsalb_counts(self, play: Play) -> None:
        await play.publish("a b", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            a, b = [_value((await wire.ask(get("/hello"))).cookie) for _ in range(2)]
            for cookies in (
                f"AWSALB={a}; AWSALBCORS={b}",
                f"AWSALBCORS={b}; x=1; AWSALB={a}",
                f"AWSALB={a}; AWSALB={b}",
            ):
                assert {(await wire.ask(get("/hello", Cookie=cookies))).body for _ in range(4)} == {b"a"}
        await self._counts_for_nothing(play, f"AWSALB=spoiled; AWSALBCORS={a}")

    async def _counts_for_nothing(self, play: Play, cookie: str) -> None:
        before = await self._non_sticky(play)
        async with await play.wire() as wire:
            answers = [await wire.ask(get("/hello", Cookie=cookie)) for _ in range(4)]
        _assert_spread_with_new_cookies(answers)
        assert await self._non_sticky(play) == before + 4

    async def _non_sticky(self, play: Play) -> int:
        return int((await play.stage.control("GET", "/v1/counters"))[1]["totals"]["NonStickyRequestCount"])


def _assert_spread_with_new_cookies(answers: list[Response]) -> None:
    assert Counter(answer.body for answer in answers) == {b"a": 2, b"b": 2}
    assert all(len(answer.all("set-cookie")) == 2 for answer in answers)
    assert len({answer.cookie for answer in answers}) == 4


def _value(cookie: str, name: str = "AWSALB") -> str:
    return dict(pair.split("=", 1) for pair in cookie.split("; "))[name]


def _foreign(target_id: str) -> str:
    """As this balancer would make it, had it another key."""
    claim = pack_claim(Claim(target_id.encode(), time.time() + 60), LB_PLAINTEXT_SIZE)
    return Seal(os.urandom(32)).seal(claim, b"AWSALB\0" + ARN.encode()).decode()
