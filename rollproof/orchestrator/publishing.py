"""The orchestrator's side of the balancer: what table it has, and which connections are still to be cut.

The table goes out where it has changed, before anything is cut: no new request may reach a target whose last
ones are ended. Once a tick the same table goes out again, for a balancer that was restarted in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rollproof.core.decide import routing_table
from rollproof.core.routing_table import RoutingTable
from rollproof.core.world import World
from rollproof.history import Recorder
from rollproof.orchestrator.ports import Balancer


class TablePublisher:
    """`generation` and `cuts` are what has to be kept for an orchestrator that comes after this one."""

    def __init__(self, balancer: Balancer, recorder: Recorder, generation: int, cuts: Sequence[str]) -> None:
        self.generation = generation
        self.cuts = list(cuts)
        self._balancer, self._recorder = balancer, recorder
        self._published: RoutingTable | None = None
        self._is_refresh_due = False

    def cut_later(self, target_id: str) -> None:
        """Its delay is over: with the next table, its connections are cut."""
        self.cuts.append(target_id)

    def refresh_later(self) -> None:
        """The next `publish` sends the table even if it is the same."""
        self._is_refresh_due = True

    async def publish(self, world: World, now: float) -> None:
        """Raises Temporary if the balancer does not answer; the next call then begins anew."""
        table = self._next_table(world, now)
        if table is None:
            return
        self._published = None
        await self._balancer.publish(table)
        self._published, self._is_refresh_due = table, False
        while self.cuts:
            cut = await self._balancer.cut(self.cuts[0])
            target_id = self.cuts.pop(0)
            self._recorder.record("target", t=now, target_id=target_id, state="unused", cut=cut)

    def _next_table(self, world: World, now: float) -> RoutingTable | None:
        """What to send: a new table, the same again where that is due, or nothing."""
        table = routing_table(world, now, self.generation)
        if self._published is not None and replace(self._published, generation=0) == replace(table, generation=0):
            return self._published if self.cuts or self._is_refresh_due else None
        self.generation += 1
        return replace(table, generation=self.generation)
