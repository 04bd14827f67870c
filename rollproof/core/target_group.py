"""An ALB target group: targets, what each ALB node thinks of them, and what the balancer is told.

A target is `initial` from its registration, `healthy` after **one** successful check (ALB-UG: the healthy
threshold only counts for coming back), `unhealthy` after the unhealthy threshold, `draining` from its
deregistration until the *full* delay has passed, whether or not anything is in flight (ALB-UG), and then gone.

Every ALB node checks by itself, on its own phase, and learns of a deregistration in its own time: for 10 to
20 s after `draining` shows, nodes still send what they always sent (LBC#2366). So each node has its own
`NodeHealth`, and its own view in the routing table.

Fail-open is decided here too: a node that knows fewer healthy targets than
`unhealthy_state_routing.minimum_healthy_targets` (count or percentage) routes to the unhealthy ones as well. Targets
that drain are deregistered and take no part in it [inferred]; targets still `initial` neither [inferred].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollproof.core.errors import IllegalTransition
from rollproof.core.events import HealthCheckAnswered
from rollproof.core.matcher import matcher_accepts
from rollproof.core.names import fraction
from rollproof.core.records import replace
from rollproof.core.routing_table import NodeTable, RoutableTarget
from rollproof.core.settings import Behaviour, PlatformSettings, TargetGroupSettings
from rollproof.core.timing import Timing


class TargetState(StrEnum):
    """API-ELB TargetHealthStateEnum, as far as ip targets of an ALB in use show them."""

    INITIAL = "initial"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    UNUSED = "unused"


T = TargetState
TRANSITIONS: dict[TargetState, frozenset[TargetState]] = {
    T.INITIAL: frozenset({T.HEALTHY, T.UNHEALTHY, T.DRAINING}),
    T.HEALTHY: frozenset({T.UNHEALTHY, T.DRAINING}),
    T.UNHEALTHY: frozenset({T.HEALTHY, T.DRAINING}),
    T.DRAINING: frozenset({T.UNUSED}),
    T.UNUSED: frozenset(),
}
"""What a node, or the group as a whole, may go through. Draining never becomes healthy again."""


@dataclass(frozen=True)
class NodeHealth:
    """One node's opinion of one target. `reason`/`description` as in section 4.1 of the API."""

    next_check_at: float
    state: TargetState = TargetState.INITIAL
    successes: int = 0
    failures: int = 0
    reason: str = "Elb.InitialHealthChecking"
    description: str = "Initial health checks in progress"
    healthy_since: float | None = None


@dataclass(frozen=True)
class Target:
    """One registered ip target. `draining_at` is when `draining` shows; the delay counts from there."""

    id: str
    task_id: str
    address: str
    registered_at: float
    nodes: Mapping[str, NodeHealth] = field(default_factory=dict)
    draining_at: float | None = None
    availability_zone: str = ""


ECS = PlatformSettings()
"""Behind an ALB: nothing of another platform."""


@dataclass(frozen=True)
class Rules:
    """What the functions here need to know besides the target."""

    settings: TargetGroupSettings
    behaviour: Behaviour
    timing: Timing
    seed: int
    platform: PlatformSettings = ECS
    availability_zones: tuple[str, ...] = ()
    node_lag_s: Mapping[str, float] = field(default_factory=dict)  # nodes that learn later than they should

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(f"node-{n}" for n in range(self.behaviour.nodes))

    def reaches(self, node_id: str, target: Target) -> bool:
        """Whether the node uses the target at all: with cross-zone balancing off only its own zone's.

        Nodes and zones go together in their order: node-0 with the first zone, and round again.
        """
        if self.settings.cross_zone != "false" or not self.availability_zones:
            return True
        place = int(node_id.removeprefix("node-")) % len(self.availability_zones)
        return target.availability_zone == self.availability_zones[place]


def register(target_id: str, task_id: str, now: float, rules: Rules, availability_zone: str = "") -> Target:
    """A new target; each node's first check falls within a second of its own (O3)."""
    first = now + rules.timing.registration_s
    spread = rules.timing.first_check_spread_s
    nodes = {
        node: NodeHealth(next_check_at=first + spread * fraction(rules.seed, "check", node, target_id))
        for node in rules.node_ids
    }
    return Target(target_id, task_id, target_id, now, nodes, availability_zone=availability_zone)


def deregister(target: Target, now: float, rules: Rules) -> Target:
    """Begins to drain; asked again, nothing changes."""
    if target.draining_at is not None:
        return target
    return replace(target, draining_at=now + rules.timing.drain_visible_s)


def drained_at(target: Target, rules: Rules) -> float | None:
    """When the full delay will have passed; None while it is not draining.

    Where sessions stay with their instance, that is when even a session that began just then is over.
    """
    if target.draining_at is None:
        return None
    if rules.platform.sessions_stay:
        return target.draining_at + rules.platform.session_lifetime_s
    return target.draining_at + rules.settings.deregistration_delay_s


def state(target: Target, now: float) -> tuple[TargetState, str, str]:
    """(state, reason, description) as DescribeTargetHealth shows it at `now`.

    Of several nodes: healthy when all are, unhealthy when one is, else initial [inferred].
    """
    if target.draining_at is not None and now >= target.draining_at:
        return T.DRAINING, "Target.DeregistrationInProgress", "Target deregistration is in progress"
    are_healthy = True
    for node in target.nodes.values():
        if node.state is T.UNHEALTHY:
            return node.state, node.reason, node.description
        are_healthy &= node.state is T.HEALTHY
    if are_healthy:
        return T.HEALTHY, "", ""
    if now < min(node.next_check_at for node in target.nodes.values()) and _unchecked(target):
        return T.INITIAL, "Elb.RegistrationInProgress", "Target registration is in progress"
    return T.INITIAL, "Elb.InitialHealthChecking", "Initial health checks in progress"


def _unchecked(target: Target) -> bool:
    return all(node.successes == node.failures == 0 for node in target.nodes.values())


def check_sent(target: Target, node_id: str, now: float, rules: Rules) -> Target:
    """The node's next check is one interval away, however long this answer takes (ALB-UG).

    Checks missed while nobody was there to send them are not made up for.
    """
    node, interval_s = target.nodes[node_id], rules.settings.health_check.interval_s
    missed = node.next_check_at + interval_s <= now
    due = replace(node, next_check_at=(now if missed else node.next_check_at) + interval_s)
    return replace(target, nodes={**target.nodes, node_id: due})


def check_answered(target: Target, answer: HealthCheckAnswered, now: float, rules: Rules) -> Target:
    """Counts one answer. A target that drains is checked no more, a late answer changes nothing."""
    node = target.nodes.get(answer.node)
    if node is None or target.draining_at is not None:
        return target
    check = rules.settings.health_check
    if answer.status is not None and matcher_accepts(check.matcher, answer.status):
        node = replace(node, successes=node.successes + 1, failures=0)
        needed = 1 if node.state is T.INITIAL else check.healthy_threshold
        if node.state is not T.HEALTHY and node.successes >= needed:
            node = replace(node, state=move(node.state, T.HEALTHY), reason="", description="", healthy_since=now)
    else:
        reason, description = _failure(answer)
        node = replace(node, failures=node.failures + 1, successes=0)
        if node.state is T.UNHEALTHY:
            node = replace(node, reason=reason, description=description)
        elif node.failures >= check.unhealthy_threshold:
            node = replace(
                node, state=move(node.state, T.UNHEALTHY), reason=reason, description=description, healthy_since=None
            )
    return replace(target, nodes={**target.nodes, answer.node: node})


def move(state: TargetState, to: TargetState) -> TargetState:
    """`to`. Raises IllegalTransition if the table lacks the pair."""
    if to not in TRANSITIONS[state]:
        raise IllegalTransition("target", state, to)
    return to


def _failure(answer: HealthCheckAnswered) -> tuple[str, str]:
    """Section 4.1: reason and description."""
    if answer.status is not None:
        return "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{answer.status}]"
    if answer.failure == "timeout":
        return "Target.Timeout", "Request timed out"
    return "Target.FailedHealthChecks", "Health checks failed"


def learned_at(target: Target, node_id: str, rules: Rules) -> float | None:
    """When this node stops sending new requests to a draining target; None while it is not draining.

    `drain_propagation_s` with the node's own share of the jitter, and what it lags behind on top; never past the end
    of the delay.
    """
    if target.draining_at is None:
        return None
    lag = rules.timing.drain_propagation_s
    if lag > 0:
        jitter = fraction(rules.seed, "lag", node_id, target.id) - 0.5
        lag = max(0.0, lag + jitter * rules.timing.drain_propagation_jitter_s)
    lag += rules.node_lag_s.get(node_id, 0.0)
    return target.draining_at + min(lag, rules.settings.deregistration_delay_s)


def node_state(target: Target, node_id: str, now: float, rules: Rules) -> TargetState:
    """What this node believes: its own health, until it has learned that the target drains."""
    learned = learned_at(target, node_id, rules)
    return T.DRAINING if learned is not None and now >= learned else target.nodes[node_id].state


def node_table(targets: Mapping[str, Target], node_id: str, now: float, rules: Rules) -> NodeTable:
    """This node's view, fail-open included."""
    reached = [t for t in targets.values() if rules.reaches(node_id, t)]
    states = [node_state(t, node_id, now, rules) for t in reached]
    fail_open = fails_open(states.count(T.HEALTHY), len(states) - states.count(T.DRAINING), rules.settings)
    rows = (row(t, node_id, s, fail_open, now, rules) for t, s in zip(reached, states, strict=True))
    return NodeTable(node_id, tuple(rows))


def row(target: Target, node_id: str, known: TargetState, fail_open: bool, now: float, rules: Rules) -> RoutableTarget:
    """The target as this node, which knows it in state `known`, routes to it."""
    new = known is T.HEALTHY or (fail_open and known is T.UNHEALTHY)
    stays = rules.behaviour.sticky_overrides_drain or rules.platform.sessions_stay
    return RoutableTarget(
        id=target.id,
        address=target.address,
        state=known,
        new=new,
        sticky=new or (known is T.DRAINING and stays),
        slow_start_age_s=_slow_start_age(target.nodes[node_id], now, rules) if new else None,
    )


def fails_open(healthy: int, registered: int, settings: TargetGroupSettings) -> bool:
    """Fewer healthy targets than the minimum count, or than the minimum percentage: either is enough (API-ELB).

    2 healthy of 4 registered ones at 75 %: 200 < 300, so all four are used. What drains is registered no more.
    """
    is_below_percent = healthy * 100 < settings.minimum_healthy_targets_percent * registered
    return healthy < settings.minimum_healthy_targets or is_below_percent


def _slow_start_age(node: NodeHealth, now: float, rules: Rules) -> float | None:
    if node.healthy_since is None or now - node.healthy_since >= rules.settings.slow_start_s:
        return None
    return now - node.healthy_since


def due_times(target: Target, rules: Rules) -> list[float]:
    """When this target is next to be acted on: checked by each node, or removed at the end of its delay."""
    end = drained_at(target, rules)
    return list(check_times(target, rules).values()) if end is None else [end]


def check_times(target: Target, rules: Rules) -> dict[str, float]:
    """When each node next checks it. A node that has seen it healthy does not, where checks end with that."""
    ends = rules.platform.checks_end_when_healthy
    return {name: node.next_check_at for name, node in target.nodes.items() if not (ends and node.state is T.HEALTHY)}


def view_times(target: Target, rules: Rules) -> list[float]:
    """When what is shown or known of a draining target changes with nobody acting."""
    learned = [at for node in target.nodes if (at := learned_at(target, node, rules)) is not None]
    return learned if target.draining_at is None else [target.draining_at, *learned]
