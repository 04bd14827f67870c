"""The embedded balancer's routings of other platforms, over real connections: by free instance, and by session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.settings import PlatformSettings, Routing
from rollproof.orchestrator.balancers.embedded import BalancerOptions, EmbeddedBalancer, EmbeddedBalancerClient, serve
from rollproof.testing.balancer_play import Play, PlayFixtures
from rollproof.testing.balancer_wire import Response, get, request

EXCLUSIVE = PlatformSettings(routing=Routing.EXCLUSIVE)
SESSIONS = PlatformSettings(routing=Routing.BY_SESSION_HEADER)


@dataclass
class FreezerLog:
    """A freezer that only writes down what it is told."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def freeze(self, address: str) -> None:
        self.told.append(("freeze", address))

    def thaw(self, address: str) -> None:
        self.told.append(("thaw", address))


@dataclass(frozen=True)
class Stage:
    server: EmbeddedBalancer
    balancer: EmbeddedBalancerClient
    freezer: FreezerLog

    @property
    def port(self) -> int:
        return self.server.port

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.balancer.exchange(method, path, body)


class OnPlatform(PlayFixtures):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[Stage]:
        options = BalancerOptions(access_log=tmp_path / "access.log", control=tmp_path / "c.sock")
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        freezer = FreezerLog()
        async with serve(options, freezer=freezer) as balancer:
            yield Stage(balancer, EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log), freezer)
        assert faults == []


class TestExclusive(OnPlatform):
    async def test_a_request_gets_an_instance_that_has_none(self, play: Play) -> None:
        await play.publish("a b", platform=EXCLUSIVE)
        async with await play.wire() as busy:
            busy.send(get("/wait"))
            a, b = play.targets[:2]
            await asyncio.wait(
                [asyncio.create_task(t.wait_until(lambda t=t: len(t.requests) == 1)) for t in (a, b)],
                return_when=asyncio.FIRST_COMPLETED,
            )
            idle = b if a.requests else a
            assert {(await play.ask(get("/hello"))).body for _ in range(6)} == {idle.name.encode()}

    async def test_with_all_instances_taken_it_is_429_and_afterwards_it_is_served(self, play: Play) -> None:
        await play.publish("a", platform=EXCLUSIVE)
        target = play.targets[0]
        async with await play.wire() as busy:
            busy.send(get("/wait"))
            await target.wait_until(lambda: len(target.requests) == 1)
            assert (await play.ask(get("/hello"))).status == 429
            target.go.set()
            assert (await busy.response()).body == b"a"
            assert (await play.ask(get("/hello"))).status == 200
        refused = next(entry for entry in await play.entries(3) if entry.elb_status_code == "429")
        assert (refused.target, refused.error_reason) == ("-", "NoFreeInstance")

    async def test_any_idle_instance_may_be_the_next(self, play: Play) -> None:
        await play.publish("a b c", platform=EXCLUSIVE)
        async with await play.wire() as wire:
            assert {(await wire.ask(get("/hello"))).body for _ in range(40)} == {b"a", b"b", b"c"}

    async def test_an_instance_runs_from_a_request_to_its_response_on_a_connection_of_its_own(
        self, play: Play, stage: Stage
    ) -> None:
        await play.publish("a", platform=EXCLUSIVE)
        address = play.targets[0].address
        async with await play.wire() as wire:
            for _ in range(3):
                await wire.ask(get("/hello"))
        assert stage.freezer.told == [("thaw", address), ("freeze", address)] * 3
        assert play.targets[0].connections == 3

    async def test_behind_an_alb_nothing_is_frozen(self, play: Play, stage: Stage) -> None:
        await play.publish("a")
        await play.ask(get("/hello"))
        assert stage.freezer.told == []


class TestBySessionHeader(OnPlatform):
    async def first(self, play: Play, **headers: str) -> Response:
        return await play.ask(request("POST", "/hello", b"{}", **headers))

    async def drain(self, play: Play, draining: str, row: str) -> None:
        """`row` with one target that drains and still gets its own sessions, as the core publishes it."""
        table = await play.publish(row, platform=SESSIONS)
        (node,) = table.nodes
        rows = (replace(t, state="draining", new=t.id != f"id-{draining}") for t in node.targets)
        play.table = replace(table, generation=table.generation + 1, nodes=(replace(node, targets=tuple(rows)),))
        await play.stage.balancer.publish(play.table)

    async def test_a_session_has_an_instance_of_its_own_by_the_clients_id(self, play: Play) -> None:
        await play.publish("a b c", platform=SESSIONS)
        homes = {name: (await self.first(play, Mcp_Session_Id=name)).body for name in ("s1", "s2", "s3")}
        assert sorted(homes.values()) == [b"a", b"b", b"c"]
        for name, home in homes.items():
            assert {(await play.ask(get("/hello", Mcp_Session_Id=name))).body for _ in range(4)} == {home}
        assert (await self.first(play, Mcp_Session_Id="s4")).status == 429

    async def test_a_client_without_an_id_is_given_one_that_leads_back(self, play: Play) -> None:
        await play.publish("a b c", platform=SESSIONS)
        first = await self.first(play)
        given = first.header("mcp-session-id")
        assert given is not None
        assert len(given) == 36
        again = {(await play.ask(get("/hello", Mcp_Session_Id=given))).body for _ in range(5)}
        assert again == {first.body}

    async def test_clients_of_a_protocol_without_sessions_are_given_none(self, play: Play) -> None:
        await play.publish("a", platform=SESSIONS)
        for _ in range(3):
            answer = await self.first(play, Mcp_Protocol_Version="2026-07-28")
            assert (answer.status, answer.all("mcp-session-id")) == (200, [])

    async def test_a_session_stays_on_its_draining_instance_and_a_new_one_does_not_get_it(self, play: Play) -> None:
        await play.publish("a", platform=SESSIONS)
        await self.first(play, Mcp_Session_Id="old")
        await self.drain(play, "a", "a b")
        assert (await self.first(play, Mcp_Session_Id="new")).body == b"b"
        assert (await play.ask(get("/hello", Mcp_Session_Id="old"))).body == b"a"
        await play.publish("b c", platform=SESSIONS)
        assert (await play.ask(get("/hello", Mcp_Session_Id="old"))).body == b"c"

    async def test_a_session_that_was_idle_too_long_is_over(self, play: Play) -> None:
        short = PlatformSettings(routing=Routing.BY_SESSION_HEADER, session_idle_s=0.05)
        await play.publish("a", platform=short)
        await self.first(play, Mcp_Session_Id="s1")
        assert (await self.first(play, Mcp_Session_Id="s2")).status == 429
        async with asyncio.timeout(5):
            while (await self.first(play, Mcp_Session_Id="s2")).status == 429:
                pass
        assert (await play.ask(get("/hello", Mcp_Session_Id="s1"))).status == 429

    async def test_a_session_ends_with_its_life_however_busy_and_with_delete(self, play: Play) -> None:
        short = PlatformSettings(routing=Routing.BY_SESSION_HEADER, session_lifetime_s=0.1)
        await play.publish("a", platform=short)
        await self.first(play, Mcp_Session_Id="s1")
        async with asyncio.timeout(5):
            while (await self.first(play, Mcp_Session_Id="s2")).status == 429:
                await play.ask(get("/hello", Mcp_Session_Id="s1"))
        await play.publish("a", platform=SESSIONS)
        assert (await self.first(play, Mcp_Session_Id="s3")).status == 429
        assert (await play.ask(request("DELETE", "/hello", b"", Mcp_Session_Id="s2"))).status == 200
        assert (await self.first(play, Mcp_Session_Id="s3")).status == 200

    async def test_a_session_that_the_server_does_not_know_takes_no_instance(self, play: Play) -> None:
        await play.publish("a", platform=SESSIONS)
        for number in range(5):
            assert (await play.ask(get("/500", Mcp_Session_Id=f"guess-{number}"))).status == 500
        assert (await self.first(play, Mcp_Session_Id="s1")).status == 200

    async def test_a_session_whose_instance_is_gone_gets_another(self, play: Play) -> None:
        await play.publish("a", platform=SESSIONS)
        await self.first(play, Mcp_Session_Id="s1")
        await play.publish("a b", platform=SESSIONS)
        await play.targets[0].stop()
        statuses = [(await play.ask(get("/hello", Mcp_Session_Id="s1"))).status for _ in range(8)]
        assert statuses[0] == 502
        assert 200 in statuses


class TestRequestTimeout(OnPlatform):
    async def test_a_request_without_an_answer_in_time_is_504(self, play: Play) -> None:
        await play.publish("a", platform=PlatformSettings(request_timeout_s=0.1))
        assert (await play.ask(get("/wait"))).status == 504
        (entry,) = await play.entries(1)
        assert entry.error_reason == "RequestTimeout"

    async def test_a_stream_is_cut_when_its_time_is_over_however_much_it_says(self, play: Play) -> None:
        await play.publish("a", platform=PlatformSettings(request_timeout_s=0.2))
        async with await play.wire() as wire:
            wire.send(get("/stream"))
            status, _, _ = await wire.head()
            assert status == 200
            await wire.until_closed()
        (entry,) = await play.entries(1)
        assert (entry.elb_status_code, entry.error_reason) == ("200", "RequestTimeout")
