"""Which target a node chooses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.core.routing import NodeView, choose, choose_free, node_view, ramp, stuck_target
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Algorithm, PlatformSettings, Routing, Stickiness

NONE: dict[str, int] = {}


def target(name: str, *, new: bool = True, sticky: bool = True, age_s: float | None = None) -> RoutableTarget:
    return RoutableTarget(name, "127.0.0.1:1", "healthy", new=new, sticky=sticky, slow_start_age_s=age_s)


def view(
    *targets: RoutableTarget,
    algorithm: Algorithm = Algorithm.ROUND_ROBIN,
    slow_start_s: float = 0.0,
    sticky: bool = True,
) -> NodeView:
    node = NodeTable("node-0", targets)
    return node_view(RoutingTable(1, (node,), algorithm, Stickiness(sticky), slow_start_s), node)


def chosen(of: NodeView, count: int, *, elapsed_s: float = 0.0, seed: int = 1) -> Counter[str]:
    """How often each target is chosen in `count` requests."""
    chance = Random(seed)
    picks = (
        choose(of, turn=turn, outstanding=NONE, draw=chance.random(), elapsed_s=elapsed_s) for turn in range(count)
    )
    return Counter(pick.id for pick in picks if pick is not None)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_without_a_choosable_target_there_is_none(algorithm: Algorithm) -> None:
    draining = view(target("a", new=False), algorithm=algorithm)
    assert choose(draining, turn=0, outstanding=NONE, draw=0.5) is None
    assert choose(view(algorithm=algorithm), turn=0, outstanding=NONE, draw=0.5) is None


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_target_that_is_not_for_new_requests_is_never_chosen(algorithm: Algorithm) -> None:
    of = view(target("a"), target("b", new=False), target("c"), algorithm=algorithm)
    assert set(chosen(of, 300)) == {"a", "c"}


def test_a_cookie_reaches_only_what_the_table_says_sticky() -> None:
    of = view(target("a", sticky=False), target("b", new=False))
    assert stuck_target(of, b"a") is None
    assert stuck_target(of, b"b") == target("b", new=False)
    assert stuck_target(of, b"gone") is None


def test_without_stickiness_no_cookie_reaches_anything() -> None:
    assert stuck_target(view(target("a"), sticky=False), b"a") is None


def test_nodes_with_different_views_obey_the_same_cookie_differently() -> None:
    """One node has learned that a drains, the other has not yet. LBC#2366."""
    late, early = view(target("a")), view(target("a", new=False, sticky=False), target("b"))
    assert stuck_target(late, b"a") == target("a")
    assert stuck_target(early, b"a") is None


@pytest.mark.fidelity("ALB-HEALTH-34", source="ALB-UG/load-balancer-target-groups", mark="doc")
def test_round_robin_goes_round() -> None:
    of = view(target("a"), target("b"), target("c"))
    picks = [choose(of, turn=turn, outstanding=NONE, draw=0.99) for turn in range(4)]
    assert [pick.id for pick in picks if pick] == ["a", "b", "c", "a"]


@pytest.mark.fidelity("ALB-HEALTH-34", source="ALB-UG/load-balancer-target-groups", mark="doc")
@pytest.mark.parametrize(
    ("outstanding", "turns", "expected"),
    [
        pytest.param({"a": 6, "b": 1}, [0, 1], ["c", "c"], id="an_unknown_target_has_none"),
        pytest.param({"a": 6, "b": 1, "c": 2}, [0, 1], ["b", "b"], id="the_fewest"),
        pytest.param({"a": 0, "b": 1, "c": 0}, [0, 1, 2], ["a", "c", "a"], id="equals_take_turns"),
    ],
)
def test_least_outstanding_requests(outstanding: dict[str, int], turns: list[int], expected: list[str]) -> None:
    of = view(target("a"), target("b"), target("c"), algorithm=Algorithm.LEAST_OUTSTANDING_REQUESTS)
    picks = [choose(of, turn=turn, outstanding=outstanding, draw=0.0) for turn in turns]
    assert [pick.id for pick in picks if pick] == expected


@pytest.mark.fidelity("ALB-HEALTH-34", source="ALB-UG/load-balancer-target-groups", mark="doc")
def test_weighted_random_is_uniform_without_slow_start() -> None:
    counts = chosen(view(target("a"), target("b"), algorithm=Algorithm.WEIGHTED_RANDOM), 4000)
    assert counts["a"] == pytest.approx(2000, rel=0.1)


def test_weighted_random_weighs_a_ramping_target_by_its_ramp() -> None:
    """Weights 1 and 0.5: shares 2/3 and 1/3."""
    of = view(target("a"), target("b", age_s=15.0), algorithm=Algorithm.WEIGHTED_RANDOM, slow_start_s=30.0)
    assert chosen(of, 6000)["b"] == pytest.approx(2000, rel=0.1)


def test_weighted_random_survives_a_draw_that_rounds_up_to_the_sum() -> None:
    of = view(target("a"), target("b"), target("c"), algorithm=Algorithm.WEIGHTED_RANDOM)
    assert choose(of, turn=0, outstanding=NONE, draw=1.0) == target("c")


# --- slow start ---------------------------------------------------------------------------------


@pytest.mark.fidelity("ALB-HEALTH-37", source="ALB-UG-now/edit-target-group-attributes", mark="doc")
@pytest.mark.parametrize(("elapsed_s", "share"), [(0.0, 0.0), (7.5, 0.125), (15.0, 0.25), (30.0, 0.5), (500.0, 0.5)])
def test_the_share_of_a_target_in_slow_start_grows_linearly(elapsed_s: float, share: float) -> None:
    of = view(target("old"), target("young", age_s=0.0), slow_start_s=30.0)
    assert chosen(of, 4000, elapsed_s=elapsed_s)["young"] / 4000 == pytest.approx(share, abs=0.02)


def test_the_turns_a_ramping_target_leaves_are_spread_over_all_others() -> None:
    of = view(target("young", age_s=0.0), target("a"), target("b"), target("c"), slow_start_s=30.0)
    assert chosen(of, 1200) == {"a": 400, "b": 400, "c": 400}


@pytest.mark.fidelity("ALB-HEALTH-39", source="ALB-UG-now/edit-target-group-attributes", mark="doc")
def test_slow_start_is_skipped_where_no_target_is_outside_of_it() -> None:
    of = view(target("a", age_s=0.0), target("b", age_s=1.0), slow_start_s=30.0)
    assert chosen(of, 100) == {"a": 50, "b": 50}


def test_a_draining_target_does_not_count_as_one_outside_slow_start() -> None:
    of = view(target("old", new=False), target("young", age_s=0.0), slow_start_s=30.0)
    assert chosen(of, 100) == {"young": 100}


@pytest.mark.fidelity("ALB-HEALTH-38", source="ALB-UG-now/edit-target-group-attributes", mark="doc")
def test_least_outstanding_requests_knows_no_slow_start() -> None:
    of = view(target("a"), target("b", age_s=0.0), algorithm=Algorithm.LEAST_OUTSTANDING_REQUESTS, slow_start_s=30.0)
    assert chosen(of, 100) == {"a": 50, "b": 50}


def test_a_target_whose_slow_start_is_over_takes_its_full_share() -> None:
    of = view(target("a"), target("b", age_s=30.0), slow_start_s=30.0)
    assert ramp(of, of.choosable[1], 0.0) == 1.0
    assert chosen(of, 100) == {"a": 50, "b": 50}


def test_the_ramp_counts_from_when_the_target_became_healthy() -> None:
    of = view(target("a"), target("b", age_s=10.0), slow_start_s=30.0)
    assert ramp(of, of.choosable[1], 5.0) == 0.5


# --- properties ---------------------------------------------------------------------------------

TARGETS = st.lists(
    st.builds(
        RoutableTarget,
        id=st.text("abcdef", min_size=1, max_size=3),
        address=st.just("127.0.0.1:1"),
        state=st.sampled_from(["healthy", "unhealthy", "draining", "initial"]),
        new=st.booleans(),
        sticky=st.booleans(),
        slow_start_age_s=st.none() | st.floats(0, 100),
    ),
    max_size=8,
    unique_by=lambda t: t.id,
)


@given(
    targets=TARGETS,
    algorithm=st.sampled_from(Algorithm),
    slow_start_s=st.sampled_from([0.0, 30.0]),
    turn=st.integers(0, 10**9),
    draw=st.floats(0, 1, exclude_max=True),
    elapsed_s=st.floats(0, 1000),
    outstanding=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9)),
)
def test_a_choice_is_a_choosable_target_and_there_is_one_whenever_there_can_be(
    targets: list[RoutableTarget],
    algorithm: Algorithm,
    slow_start_s: float,
    turn: int,
    draw: float,
    elapsed_s: float,
    outstanding: dict[str, int],
) -> None:
    of = view(*targets, algorithm=algorithm, slow_start_s=slow_start_s)
    pick = choose(of, turn=turn, outstanding=outstanding, draw=draw, elapsed_s=elapsed_s)
    choosable = [t for t in targets if t.new]
    assert pick in choosable if choosable else pick is None


def test_a_view_is_made_of_its_node_alone() -> None:
    node = NodeTable("node-1", (target("b"),))
    table = RoutingTable(1, (NodeTable("node-0", (target("a"),)), node))
    assert [t.id for t in node_view(table, node).choosable] == ["b"]
    assert node_view(replace(table, generation=2), node) == node_view(table, node)


# --- platforms where an instance is somebody's ------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "draw", "expected"),
    [
        (set(), 0.0, "a"),
        (set(), 0.5, "c"),
        (set(), 0.999, "c"),
        ({"a"}, 0.0, "c"),
        ({"a", "c"}, 0.0, None),
    ],
)
def test_a_free_instance_is_any_that_nobody_has(taken: set[str], draw: float, expected: str | None) -> None:
    of = view(target("a"), target("b", new=False), target("c"))
    found = choose_free(of, draw=draw, taken=taken)
    assert (found and found.id) == expected


def test_each_free_instance_is_chosen_equally_often() -> None:
    of, chance = view(*map(target, "abcd")), Random(3)
    picks = Counter(pick.id for _ in range(4000) if (pick := choose_free(of, draw=chance.random(), taken={"b"})))
    assert set(picks) == {"a", "c", "d"}
    assert all(1200 < picks[name] < 1470 for name in "acd")


@pytest.mark.parametrize("routing", list(Routing))
def test_only_session_routing_leads_back_to_a_target_without_cookies(routing: Routing) -> None:
    node = NodeTable("node-0", (target("a", new=False), target("b", sticky=False)))
    of = node_view(RoutingTable(1, (node,), platform=PlatformSettings(routing=routing)), node)
    is_led = routing is Routing.BY_SESSION_HEADER
    assert (stuck_target(of, b"a") is not None) is is_led
    assert stuck_target(of, b"b") is None
