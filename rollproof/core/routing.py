"""Which target gets the next request: an ALB node's choice, as a function of what the node knows.

`node_view` turns one node's part of the routing table into what a choice needs, once a table. Then, for a request:

    stuck_target    a valid sticky cookie names a target that the table still lets it reach: that one
    choose          otherwise the target group's algorithm, among the targets that may be chosen anew
    choose_free     on platforms where an instance belongs to one request, or one session, at a time

All only read. What moves between two choices (the node's turn, requests outstanding, a random draw, time
since the table came) is passed in, since each load balancer node keeps its own. Fail-open is not decided
here: the table's `new` already includes it.
ALB-UG/target-group-routing-algorithms, ALB-UG/edit-target-group-attributes (slow start).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import assert_never

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Algorithm
from rollproof.core.stickiness import target_key


@dataclass(frozen=True)
class NodeView:
    """One node's targets, sorted by what may reach them.

    `ramping` are the choosable targets in slow start; it is empty where slow start is skipped, and `full`
    then holds all of `choosable`.
    """

    algorithm: Algorithm
    choosable: tuple[RoutableTarget, ...]
    full: tuple[RoutableTarget, ...]
    ramping: Mapping[str, float]  # target id -> seconds since it became healthy, when the table was made
    sticky: Mapping[bytes, RoutableTarget]  # key inside a cookie -> target; with session routing of all, too
    slow_start_s: float


def node_view(table: RoutingTable, node: NodeTable) -> NodeView:
    """What `node` knows. A target in slow start ramps only if another, outside of it, can take the rest."""
    choosable = tuple(t for t in node.targets if t.new)
    ramping: dict[str, float] = {}
    if table.slow_start_s > 0 and table.algorithm is not Algorithm.LEAST_OUTSTANDING_REQUESTS:
        ramping = {
            t.id: t.slow_start_age_s
            for t in choosable
            if t.slow_start_age_s is not None and t.slow_start_age_s < table.slow_start_s
        }
    full = tuple(t for t in choosable if t.id not in ramping)
    if not full:
        full, ramping = choosable, {}
    has_bonds = table.stickiness.enabled or table.platform.sessions_stay
    sticky = {target_key(t.id): t for t in node.targets if t.sticky} if has_bonds else {}
    return NodeView(table.algorithm, choosable, full, ramping, sticky, table.slow_start_s)


def stuck_target(view: NodeView, key: bytes) -> RoutableTarget | None:
    """The target a valid cookie names, if this node still lets the cookie reach it."""
    return view.sticky.get(key)


def choose(
    view: NodeView, *, turn: int, outstanding: Mapping[str, int], draw: float, elapsed_s: float = 0.0
) -> RoutableTarget | None:
    """A target for a request that no cookie binds; None if there is none (503).

    `turn` counts this node's choices, `outstanding` its requests in flight by target id, `draw` is uniform in [0, 1),
    `elapsed_s` the time since the table came.
    """
    if not view.choosable:
        return None
    match view.algorithm:
        case Algorithm.ROUND_ROBIN:
            return _round_robin(view, turn, draw, elapsed_s)
        case Algorithm.LEAST_OUTSTANDING_REQUESTS:
            return _least_outstanding(view.choosable, turn, outstanding)
        case Algorithm.WEIGHTED_RANDOM:
            return _weighted_random(view, draw, elapsed_s)
        case _ as unknown:
            assert_never(unknown)


def choose_free(view: NodeView, *, draw: float, taken: Container[str]) -> RoutableTarget | None:
    """One of the targets whose ids are not `taken`; None if there is none. `draw` is uniform in [0, 1).

    Which idle instance gets a request is documented nowhere: any, so that no habit of ours hides a loss [inferred].
    """
    free = [target for target in view.choosable if target.id not in taken]
    return free[int(draw * len(free))] if free else None


def ramp(view: NodeView, target: RoutableTarget, elapsed_s: float) -> float:
    """The part of its fair share that `target` takes: linear from 0 to 1 over the slow start duration.

    With slow_start_s 30, healthy for 10 s when the table came 5 s ago: (10 + 5) / 30 = 0.5.
    """
    age_s = view.ramping.get(target.id)
    return 1.0 if age_s is None else min(1.0, (age_s + elapsed_s) / view.slow_start_s)


def _round_robin(view: NodeView, turn: int, draw: float, elapsed_s: float) -> RoutableTarget:
    """The target whose turn it is. One that ramps takes its turn with the probability of its ramp; the
    turns it leaves go round the targets outside slow start, so its share of the requests grows linearly."""
    count = len(view.choosable)
    target = view.choosable[turn % count]
    if view.ramping and draw >= ramp(view, target, elapsed_s):
        return view.full[(turn // count) % len(view.full)]
    return target


def _least_outstanding(
    targets: tuple[RoutableTarget, ...], turn: int, outstanding: Mapping[str, int]
) -> RoutableTarget:
    """The fewest requests in flight; among equals, round robin."""
    if not outstanding:
        return targets[turn % len(targets)]
    fewest = min(outstanding.get(t.id, 0) for t in targets)
    equals = [t for t in targets if outstanding.get(t.id, 0) == fewest]
    return equals[turn % len(equals)]


def _weighted_random(view: NodeView, draw: float, elapsed_s: float) -> RoutableTarget:
    """Uniform at random, each weighted by its ramp. (AWS also lowers the weight of anomalous targets; not modelled.)"""
    if not view.ramping:
        return view.choosable[min(int(draw * len(view.choosable)), len(view.choosable) - 1)]
    weights = [ramp(view, t, elapsed_s) for t in view.choosable]
    rest = draw * sum(weights)
    for target, weight in zip(view.choosable, weights, strict=True):
        rest -= weight
        if rest < 0:
            return target
    return view.full[-1]
