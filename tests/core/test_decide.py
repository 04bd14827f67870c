"""`decide` comes to rest, `next_wakeup` names the next moment, and the routing table says what nodes know."""

from __future__ import annotations

import pytest

from rollproof.core import commands as c
from rollproof.core.decide import decide, next_wakeup, routing_table
from rollproof.core.names import target_group_arn
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.world import apply, create_world
from tests.core.play import Behaviour, Play, settings
from tests.core.test_service_replacement import crash
from tests.core.test_service_rolling import steady


def test_decision_is_a_function_of_world_and_time() -> None:
    play = Play(settings(), tells_story=False)
    for _ in range(200):
        now = next_wakeup(play.world, play.now)
        assert decide(play.world, now) == decide(play.world, now)
        play.run(max(0.0, now - play.now))


def test_nothing_is_to_be_done_before_the_next_wakeup() -> None:
    play = steady()
    play.update(force_new_deployment=True)
    while play.now < 300:
        at = next_wakeup(play.world, play.now)
        assert at > play.now
        assert decide(play.world, (play.now + at) / 2) == []
        play.run(at - play.now)


def test_wakeup_is_now_where_something_is_overdue() -> None:
    """Time passes while a shell acts: it may ask a moment after the next pass was due."""
    world = create_world(Settings(), Timing(), seed=1, now=0.0)
    assert next_wakeup(world, 0.0) == 12.0
    assert next_wakeup(world, 12.5) == 12.5


def test_wakeup_wakes_for_views_that_change_with_time_alone() -> None:
    play = crash(steady(), "t1").run(10)
    assert next_wakeup(play.world, play.now) == play.now + Timing().drain_visible_s


def test_pass_missed_is_not_made_up_for() -> None:
    world = create_world(Settings(), Timing(), seed=1, now=0.0)
    while commands := decide(world, 100.0):
        for command in commands:
            world = apply(world, command, 100.0)
    assert world.next_tick_at == 110.0


@pytest.mark.fidelity("ECS-TASK-32", "ECS-TASK-37")
def test_task_comes_up_in_the_measured_times() -> None:
    play = Play(settings(desired=1)).run(60)
    task, timing = play.task("t1"), Timing()
    assert task.connectivity_at == task.created_at + timing.eni_attach_s
    assert task.pull_started_at == task.created_at + timing.pull_start_s
    assert task.pull_stopped_at == task.created_at + timing.pull_stop_s
    assert task.registered_at is not None
    assert task.started_at == task.registered_at + timing.running_after_registration_s


def test_container_is_removed_once_after_its_target_is_gone() -> None:
    play = crash(steady(desired=1, delay_s=100.0), "t1").run(3_000)
    [removed] = play.when(c.RemoveContainer, "t1")
    [target_removed] = [at for at, x in play.orders if isinstance(x, c.RemoveTarget)]
    assert removed == target_removed - play.zero


def test_kill_is_not_repeated() -> None:
    play = Play(
        settings(desired=1, delay_s=0.0), behaviours={"mcp-server:1": Behaviour(exits_on_sigterm_after_s=None)}
    ).run_until_steady()
    play.deploy(2)
    play._act = lambda command: None if isinstance(command, c.KillContainer) else Play._act(play, command)  # type: ignore[method-assign]
    play.run(600)
    assert len(play.when(c.KillContainer, "t1")) == 1


@pytest.mark.fidelity("ALB-HEALTH-40", source="ALB-UG/load-balancer-target-groups", mark="doc")
def test_routing_table_has_every_node_and_the_settings_of_the_group() -> None:
    play = steady(nodes=3)
    table = routing_table(play.world, play.now, generation=9)
    assert table.generation == 9
    assert [x.id for x in table.nodes] == ["node-0", "node-1", "node-2"]
    assert [len(x.targets) for x in table.nodes] == [2, 2, 2]
    assert table.target_group_arn == target_group_arn(play.settings.service, play.settings.target_group)
    assert table.algorithm is play.settings.target_group.algorithm
    assert table.load_balancer == play.settings.load_balancer


@pytest.mark.fidelity("ALB-HEALTH-41", source="ALB-UG/load-balancer-target-groups", mark="doc")
def test_without_cross_zone_balancing_a_node_has_its_own_zones_targets_alone() -> None:
    play = steady(desired=3, cross_zone="false", nodes=4)
    zones = {name: play.task(name).availability_zone[-1] for name in ("t1", "t2", "t3")}
    assert zones == {"t1": "a", "t2": "b", "t3": "a"}
    assert play.table() == {"node-0": ["t1", "t3"], "node-1": ["t2"], "node-2": ["t1", "t3"], "node-3": ["t2"]}
    crash(play, "t2").run(30)
    assert play.table()["node-1"] == []  # 503 there until its zone has a task again; others are no help
    play.run_until_steady()
    assert len(play.table()["node-1"]) == 1


@pytest.mark.fidelity("ALB-DRAIN-12", "TRAP-15")
def test_drain_reaches_the_nodes_one_after_another() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(93)
    assert play.states()["t1"] == "draining"
    assert play.table() == {"node-0": ["t1", "t2"], "node-1": ["t1", "t2"]}
    seen = [play.table()]
    while "t1" in str(seen[-1]):
        play.run(0.1)
        if play.table() != seen[-1]:
            seen.append(play.table())
    both, new = ["t1", "t2"], ["t2"]
    assert seen in (
        [{"node-0": both, "node-1": both}, {"node-0": new, "node-1": both}, {"node-0": new, "node-1": new}],
        [{"node-0": both, "node-1": both}, {"node-0": both, "node-1": new}, {"node-0": new, "node-1": new}],
    )
