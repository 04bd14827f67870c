"""What the embedded balancer's control interface does (control_server.py says what it is)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rollproof.orchestrator.balancers.control_server import Answer, Handler, seconds_to_stop, target_to_cut
from rollproof.orchestrator.balancers.embedded.read_table import read_table

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.server import EmbeddedBalancer


class ControlRoutes:
    """The routes of one balancer. None of them waits for anything: each call is one step of the event loop."""

    def __init__(self, balancer: EmbeddedBalancer) -> None:
        self._balancer = balancer

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("PUT", "/v1/table"): self._put_table,
            ("GET", "/v1/table"): self._get_table,
            ("GET", "/v1/counters"): self._get_counters,
            ("POST", "/v1/cut"): self._cut,
            ("GET", "/v1/health"): self._health,
            ("POST", "/v1/stop"): self._stop,
        }

    async def _put_table(self, body: Any) -> Answer:
        plane = self._balancer.plane
        plane.publish(read_table(body))
        return 200, {"generation": plane.table.generation}

    async def _get_table(self, _: Any) -> Answer:
        table = self._balancer.plane.table
        if table.generation < 0:
            return 404, {"error": "no routing table yet", "hint": "PUT /v1/table"}
        return 200, table.to_json()

    async def _get_counters(self, _: Any) -> Answer:
        return 200, self._balancer.plane.counters()

    async def _cut(self, body: Any) -> Answer:
        return 200, {"cut": self._balancer.plane.cut(target_to_cut(body))}

    async def _health(self, _: Any) -> Answer:
        balancer = self._balancer
        return 200, {
            "status": "stopping" if balancer.stop_requested.is_set() else "ok",
            "pid": os.getpid(),
            "listen": f"{balancer.options.host}:{balancer.port}",
            "generation": balancer.plane.table.generation,
            "access_log": str(balancer.options.access_log),
            "access_log_lines_lost": balancer.lines_lost,
        }

    async def _stop(self, body: Any) -> Answer:
        self._balancer.request_stop(seconds_to_stop(body))
        return 202, {"stopping": True}
