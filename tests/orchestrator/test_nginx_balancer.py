"""nginx with lb/alb.js keeps the contract of every data plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.orchestrator.balancers.nginx import NginxBalancerClient, NginxOptions, start_nginx, stop_nginx
from rollproof.orchestrator.balancers.nginx_binary import find_nginx
from rollproof.orchestrator.balancers.nginx_config import Shape
from rollproof.testing.balancer_contract import BalancerContract
from rollproof.testing.balancer_play import ARN, LB_COOKIE, Play
from rollproof.testing.balancer_target import TargetServer
from rollproof.testing.balancer_wire import get


def _missing() -> str:
    """Why no nginx can be tested here; nothing if one can."""
    try:
        find_nginx()
    except UsageError as error:
        return error.message
    return ""


_REASON = _missing()
NEEDS_NGINX = pytest.mark.skipif(bool(_REASON), reason=_REASON)


@dataclass(frozen=True)
class ProcessStage:
    balancer: NginxBalancerClient
    port: int

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.balancer.exchange(method, path, body)


class NginxContract(BalancerContract):
    """The contract, with what nginx cannot do differently. All there is:

    - the 101 of an upgrade says "Connection: upgrade", in lower case: written by nginx itself, and its value's case has
      no meaning (RFC 9110, 7.6.1)
    - a request that stops half-way is closed without a page: nginx makes none for a 408 of its own, error_page or not,
      and no JavaScript runs before a head is whole. The log has 408
    """

    answers_408 = False

    @pytest.mark.fidelity("ALB-DRAIN-10", "ALB-STICKY-21", "ALB-HTTP-25")
    async def test_an_upgrade_becomes_a_tunnel_that_stays_on_its_target(self, play: Play) -> None:
        await play.publish("a", stickiness=LB_COOKIE)
        async with await play.wire() as wire:
            wire.send(get("/ws", Connection="Upgrade", Upgrade="websocket") + b"early")
            status, head, _ = await wire.head()
            assert status == 101
            assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head.lower()
            assert await wire.reader.readexactly(9) == b"hi:aearly"
            await play.publish("a~ b", stickiness=LB_COOKIE)
            wire.send(b"\x00\xffanything")
            assert await wire.reader.readexactly(10) == b"\x00\xffanything"
        (entry,) = await play.entries(1)
        assert (entry.type, entry.elb_status_code, entry.target) == ("ws", "101", "id-a")


@pytest.mark.e2e
@NEEDS_NGINX
class TestNginxKeepsTheContract(NginxContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path, targets: tuple[TargetServer, ...]) -> AsyncIterator[ProcessStage]:
        options = NginxOptions(
            access_log=tmp_path / "access.log",
            control=tmp_path / "c.sock",
            slots=tuple(target.address for target in targets),
            shape=Shape(target_group_arn=ARN),
        )
        client = await start_nginx(options)
        port = int(str((await client.health())["listen"]).rpartition(":")[2])
        yield ProcessStage(client, port)
        await stop_nginx(options.control, grace_s=0.0)
