"""What one load balancer node routes to, kept up to date a target at a time.

`core.routing.node_view` of the whole table gives the same view (a test compares them after every change); for thousands
of targets, each of which changes several times, the table is not made anew each time.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from rollproof.core import target_group as tg
from rollproof.core.decide import routing_table
from rollproof.core.routing import NodeView, node_view
from rollproof.core.routing_table import RoutableTarget
from rollproof.core.stickiness import target_key
from rollproof.core.world import World


@dataclass
class NodeRoutes:
    """`changed_at`: since when the view is what it is."""

    node_id: str
    changed_at: float = 0.0
    _rows: dict[str, RoutableTarget] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)  # target -> in which place it was registered
    _choosable: list[RoutableTarget] = field(default_factory=list)  # by place
    _choosable_places: list[int] = field(default_factory=list)
    _sticky: dict[bytes, RoutableTarget] = field(default_factory=dict)
    _healthy: int = 0
    _registered: int = 0
    _fails_open: bool = True
    _view: NodeView | None = None

    def load(self, world: World, now: float) -> None:
        """All targets at once."""
        self._rows, self._choosable, self._choosable_places, self._sticky = {}, [], [], {}
        reached = [x for x in world.targets.values() if world.rules.reaches(self.node_id, x)]
        states = {x.id: tg.node_state(x, self.node_id, now, world.rules) for x in reached}
        self._healthy = sum(map(_is_healthy, states.values()))
        self._registered = sum(map(_is_registered, states.values()))
        self._fails_open = tg.fails_open(self._healthy, self._registered, world.rules.settings)
        for target in reached:
            self._put(tg.row(target, self.node_id, states[target.id], self._fails_open, now, world.rules))
        self._view, self.changed_at = None, now

    def update(self, world: World, target_id: str, now: float) -> bool:
        """This target is new, or has changed, or is gone. Whether others are routed to otherwise, too: where this node
        has begun to fail open, or does so no more."""
        target, old, rules = world.targets.get(target_id), self._rows.get(target_id), world.rules
        if target is None or not rules.reaches(self.node_id, target):
            target, known = None, None
        else:
            known = tg.node_state(target, self.node_id, now, rules)
        was = None if old is None else old.state
        self._healthy += _is_healthy(known) - _is_healthy(was)
        self._registered += _is_registered(known) - _is_registered(was)
        if tg.fails_open(self._healthy, self._registered, rules.settings) != self._fails_open:
            self.load(world, now)
            return True
        self._drop(target_id)
        if target is not None and known is not None:
            self._put(tg.row(target, self.node_id, known, self._fails_open, now, rules))
        self._view, self.changed_at = None, now
        return False

    def _put(self, row: RoutableTarget) -> None:
        self._rows[row.id] = row
        place = self._places.setdefault(row.id, len(self._places))
        if row.new:
            at = bisect_left(self._choosable_places, place)
            self._choosable_places.insert(at, place)
            self._choosable.insert(at, row)
        if row.sticky:
            self._sticky[target_key(row.id)] = row

    def _drop(self, target_id: str) -> None:
        row = self._rows.pop(target_id, None)
        if row is None:
            return
        if row.new:
            at = bisect_left(self._choosable_places, self._places[target_id])
            del self._choosable_places[at], self._choosable[at]
        if row.sticky:
            del self._sticky[target_key(target_id)]

    def obeys(self, target_id: str) -> bool:
        """Whether a cookie that names it still leads to it."""
        row = self._rows.get(target_id)
        return row is not None and row.sticky

    def only(self) -> str:
        """The one target that may be chosen, or "" where there are none or several."""
        return self._choosable[0].id if len(self._choosable) == 1 else ""

    def can_choose(self, target_ids: set[str]) -> bool:
        return any((row := self._rows.get(x)) is not None and row.new for x in target_ids)

    def view(self, world: World) -> NodeView:
        """As of `changed_at`; `world` is that of the time."""
        if self._view is None:
            group = world.settings.target_group
            if group.slow_start_s > 0:  # what ramps depends on the time: the core's own way
                table = routing_table(world, self.changed_at, 1)
                self._view = node_view(table, next(x for x in table.nodes if x.id == self.node_id))
            else:
                choosable = tuple(self._choosable)
                sticky = self._sticky if group.stickiness.enabled else {}
                self._view = NodeView(group.algorithm, choosable, choosable, {}, sticky, 0.0)
        return self._view


def _is_healthy(known: str | None) -> bool:
    return known == tg.TargetState.HEALTHY


def _is_registered(known: str | None) -> bool:
    """What drains is registered no more: `core.target_group.fails_open`."""
    return known is not None and known != tg.TargetState.DRAINING
