"""The desired count up and down, task protection, and the balance of Availability Zones."""

from __future__ import annotations

from collections import Counter

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.deployment import RolloutState
from rollproof.core.task import TaskStatus
from rollproof.core.world import World
from tests.core.play import Behaviour, Play, settings
from tests.core.test_service_breaker import NEVER_LISTENS
from tests.core.test_service_replacement import SICK, fall_ill
from tests.core.test_service_rolling import batches, steady


def protect(play: Play, *names: str, minutes: int = 120, enabled: bool = True) -> Play:
    for name in names:
        play.tell(e.TaskProtectionChanged(play.task(name).id, enabled, minutes))
    return play.run(0)


# --- the desired count -------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-DEPLOY-11", "ECS-DEPLOY-13")
def test_scale_out_starts_tasks_without_a_deployment() -> None:
    play = steady()
    play.update(desired_count=4)
    assert not play.world.is_steady
    play.run(60)
    assert play.events()[2:] == [
        "    10.0  has started 2 tasks: t3 t4.",
        "    30.0  registered 2 targets",
        "    40.0  has reached a steady state.",
    ]
    assert len(play.world.deployments) == 1


@pytest.mark.fidelity("ECS-DEPLOY-48", "ECS-TASK-27")
def test_scale_in_drains_the_newest_first() -> None:
    play = steady(desired=4, delay_s=30.0)
    deployment = play.world.primary
    play.update(desired_count=2).run(100)
    assert play.events()[2:] == [
        "    10.0  has stopped 2 running tasks: t4 t3.",
        "    20.0  deregistered 2 targets",
        "    20.0  taskSet A has begun draining connections on 2 tasks.",
        "    30.0  has reached a steady state.",
    ]
    assert play.tasks() == ["t1", "t2"]
    assert play.when(c.SignalContainer, "t3") == [60.0]
    assert play.world.primary.desired_count == 2
    assert play.task("t4").stopped_reason == f"Scaling activity initiated by (deployment {deployment.id})"


def test_scale_in_drops_what_is_still_starting_first() -> None:
    play = steady(desired=2)
    play.update(desired_count=4).run(15)
    play.update(desired_count=2).run(10)
    assert play.events()[2:] == [
        "    10.0  has started 2 tasks: t3 t4.",
        "    20.0  stopped 2 pending tasks.",
        "    20.0  has reached a steady state.",
    ]
    assert play.tasks() == ["t1", "t2"]


@pytest.mark.fidelity("ECS-EVENT-8", source="O11", mark="observed")
def test_scale_in_of_tasks_without_a_container_calls_them_pending() -> None:
    play = steady(desired=1)
    play.update(desired_count=3).run(12)
    play.update(desired_count=1).run(10)
    assert play.events()[-2:] == ["    20.0  stopped 2 pending tasks.", "    20.0  has reached a steady state."]
    assert play.when(c.SignalContainer) == []


@pytest.mark.fidelity("ECS-DEPLOY-29", source="API-ECS CreateServiceRequest", mark="doc")
def test_grace_period_does_not_keep_a_task_that_is_one_too_many() -> None:
    play = steady(desired=1, health_check_grace_period_s=600.0, delay_s=30.0)
    play.exceptions.update({x: Behaviour() for x in play.world.tasks})
    play.behaviours["mcp-server:1"] = NEVER_LISTENS
    play.update(desired_count=2).run(100)
    assert (play.task("t2").known, play.states()["t2"]) == (TaskStatus.RUNNING, "unhealthy")
    play.update(desired_count=1).run(100)
    assert play.task("t2").known is TaskStatus.STOPPED
    assert play.when(c.JudgeUnhealthy) == []


@pytest.mark.parametrize("percents", [(100, 200), (50, 100), (0, 100)])
def test_scale_to_nothing_and_back(percents: tuple[int, int]) -> None:
    play = steady(desired=2, minimum=percents[0], maximum=percents[1], delay_s=30.0)
    play.update(desired_count=0).run_until_steady().run(100)
    assert play.tasks() == []
    assert play.world.targets == {}
    assert play.table() == {"node-0": [], "node-1": []}
    play.update(force_new_deployment=True).run_until_steady()
    assert [x.status for x in play.world.deployments] == ["PRIMARY"]
    play.update(desired_count=2).run_until_steady()
    assert play.tasks() == ["t3", "t4"]


def test_scale_to_nothing_stops_unhealthy_tasks_too() -> None:
    play = fall_ill(steady(desired=1, maximum=100, delay_s=5.0), "t1").run(60)
    assert play.task("t1").unhealthy_reason
    play.update(desired_count=0).run_until_steady().run(60)
    assert play.task("t1").known is TaskStatus.STOPPED


def test_create_with_nothing_completes_on_the_first_pass() -> None:
    play = Play(settings(desired=0)).run(20)
    assert play.events() == ["    12.0  A deployment completed.", "    12.0  has reached a steady state."]


@pytest.mark.fidelity("ECS-ROLL-18", source="WN-2025-11", mark="doc")
def test_scale_out_during_a_rollout_goes_to_the_new_revision_and_the_old() -> None:
    """WN-2025-11. The old one gets new tasks only if the floor needs them."""
    play = steady(desired=2, delay_s=30.0)
    play.deploy(2, Behaviour(answers_after_s=20.0)).run(20)
    play.update(desired_count=4).run(10)
    assert [x.desired_count for x in play.world.deployments] == [4, 4]
    assert Counter(x.definition for x in play.world.tasks.values()) == {"mcp-server:1": 4, "mcp-server:2": 4}
    play.run_until_steady()
    assert Counter(play.task(x).definition for x in play.tasks()) == {"mcp-server:2": 4}


def test_scale_in_during_a_rollout_ends_at_the_lower_count() -> None:
    play = steady(desired=4, delay_s=30.0)
    play.deploy(2).run(50)
    play.update(desired_count=1).run_until_steady().run(200)
    assert [play.task(x).definition for x in play.tasks()] == ["mcp-server:2"]


# --- protection ---------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-DEPLOY-52", "ECS-EVENT-22")
def test_protected_tasks_hold_a_rollout_up_until_it_expires() -> None:
    play = protect(steady(delay_s=30.0), "t1", minutes=10)
    play.update(force_new_deployment=True).run(300)
    assert play.events()[2:] == [
        "    12.0  has started 2 tasks: t3 t4.",
        "    32.0  registered 2 targets",
        "    82.0  has stopped 1 running tasks: t2.",
        "    92.0  deregistered 1 targets",
        "    92.0  taskSet A has begun draining connections on 1 tasks.",
        "   152.0  was unable to reach steady state because (taskSet A) was unable to scale in due to "
        "(reason 1 tasks under protection)",
    ]
    assert play.world.primary.rollout_state is RolloutState.IN_PROGRESS
    play.run(600)
    assert play.when(c.StopTask, "t1") == [602.0]
    assert play.world.is_steady


def test_protection_given_back_lets_the_rollout_go_on() -> None:
    play = protect(steady(delay_s=30.0), "t1", "t2")
    play.update(force_new_deployment=True).run(300)
    assert play.when(c.StopTask) == []
    assert play.events()[-1].endswith("(reason 2 tasks under protection)")
    protect(play, "t1", "t2", enabled=False).run_until_steady()


def test_protected_tasks_block_a_stop_first_rollout() -> None:
    play = protect(steady(minimum=50, maximum=100), "t1", "t2", minutes=5)
    play.update(force_new_deployment=True).run(200)
    assert play.events()[2:] == [
        "    12.0  was unable to reach steady state because (taskSet A) was unable to scale in due to "
        "(reason 2 tasks under protection)"
    ]
    play.run_until_steady()


@pytest.mark.fidelity("ECS-DEPLOY-51", source="ECS-DG/task-scale-in-protection", mark="doc")
def test_scale_in_passes_protected_tasks_by() -> None:
    play = protect(steady(desired=3, delay_s=30.0), "t2", "t3")
    play.update(desired_count=2).run(200)
    assert play.tasks() == ["t2", "t3"]
    assert play.world.is_steady


def test_scale_in_of_protected_tasks_alone_is_held_up_by_name() -> None:
    play = protect(steady(desired=3, delay_s=30.0), "t1", "t2", "t3", minutes=5)
    play.update(desired_count=1).run(200)
    assert play.events()[2:] == [
        "    10.0  was unable to reach steady state because (taskSet A) was unable to scale in due to "
        "(reason 3 tasks under protection)"
    ]
    assert not play.world.is_steady
    play.run(300)
    assert len(play.tasks()) == 1
    assert play.world.is_steady


@pytest.mark.fidelity("ECS-DEPLOY-53", source="ECS-DG/task-scale-in-protection", mark="inferred")
def test_protection_does_not_keep_an_unhealthy_task() -> None:
    play = protect(steady(), "t1")
    fall_ill(play, "t1", SICK).run(200)
    assert batches(play) == ["+1", "-1"]
    assert play.tasks() == ["t2", "t3"]


@pytest.mark.fidelity("ECS-DEPLOY-53", source="ECS-DG/task-scale-in-protection", mark="inferred")
def test_protection_does_not_keep_a_task_from_stop_task() -> None:
    play = protect(steady(), "t1")
    play.tell(e.TaskStopRequested(play.task("t1").id)).run(0)
    assert play.task("t1").known is TaskStatus.DEACTIVATING


def test_protected_task_that_is_not_healthy_does_not_cost_a_healthy_one() -> None:
    play = steady(health_check_grace_period_s=600.0)
    play.exceptions.update({x: Behaviour() for x in play.world.tasks})
    play.behaviours["mcp-server:1"] = NEVER_LISTENS
    play.update(desired_count=4).run(100)
    protect(play, "t3", "t4")
    assert play.states() == {"t1": "healthy", "t2": "healthy", "t3": "unhealthy", "t4": "unhealthy"}
    play.update(desired_count=2).run(100)
    assert play.when(c.StopTask) == []


# --- zones ---------------------------------------------------------------------------------------------------------


def zones(play: Play) -> Counter[str]:
    alive = [x for x in play.world.tasks.values() if x.is_wanted]
    return Counter(x.availability_zone[-1] for x in alive)


@pytest.mark.fidelity("ECS-ROLL-16", source="API-ECS UpdateService", mark="doc")
@pytest.mark.parametrize("minimum_and_maximum", [(100, 200), (50, 100), (100, 150), (0, 100)])
def test_rollout_keeps_the_zones_balanced(minimum_and_maximum: tuple[int, int]) -> None:
    minimum, maximum = minimum_and_maximum
    play = steady(desired=4, minimum=minimum, maximum=maximum, delay_s=5.0)
    assert zones(play) == {"a": 2, "b": 2}
    play.update(force_new_deployment=True).run_until_steady()
    assert zones(play) == {"a": 2, "b": 2}


@pytest.mark.fidelity("ECS-ROLL-16", source="API-ECS UpdateService", mark="doc")
@pytest.mark.parametrize("desired", [1, 2, 3, 4, 5])
def test_scale_in_keeps_the_zones_balanced(desired: int) -> None:
    play = steady(desired=6, availability_zones=("a", "b", "c"))
    assert zones(play) == {"a": 2, "b": 2, "c": 2}
    play.update(desired_count=desired).run(20)
    counts = [zones(play)[zone] for zone in "abc"]
    assert sum(counts) == desired
    assert max(counts) - min(counts) <= 1


@pytest.mark.fidelity("ECS-ROLL-16", source="API-ECS UpdateService", mark="doc")
def test_crash_is_made_good_in_the_thinner_zone() -> None:
    play = steady(desired=4)
    lost = play.task("t2")
    play.tell(e.ContainerExited(lost.id, 1)).run(60)
    assert play.task("t5").availability_zone == lost.availability_zone
    assert zones(play) == {"a": 2, "b": 2}


# --- rebalancing -----------------------------------------------------------------------------------------------------


def lopsided(**knobs: object) -> Play:
    """Four tasks, then the two in zone b are scaled in past the protected ones of zone a; the protection ends."""
    play = steady(desired=4, delay_s=30.0, **knobs)
    first, third = (x for x in ("t1", "t2", "t3", "t4") if play.task(x).availability_zone.endswith("a"))
    protect(play, first, third).update(desired_count=2).run(100).mark()
    assert zones(play) == {"a": 2}
    return protect(play, first, third, enabled=False)


@pytest.mark.fidelity("ECS-DEPLOY-49", "TRAP-19")
def test_steady_service_moves_a_task_to_the_thin_zone_without_a_deployment() -> None:
    play = lopsided().run(200)
    assert play.events() == [
        "    10.0  is not AZ balanced with 2 tasks in us-east-1a, 0 tasks in us-east-1b. AZ Rebalancing in progress.",
        "    10.0  has started 1 tasks in us-east-1b to AZ Rebalance: t5.",
        "    30.0  registered 1 targets",
        "    40.0  has stopped 1 running tasks: t3.",
        "    50.0  deregistered 1 targets",
        "    50.0  taskSet A has begun draining connections on 1 tasks.",
        "    60.0  has reached a steady state.",
        "    60.0  is AZ balanced with 1 tasks in us-east-1a, 1 tasks in us-east-1b.",
    ]
    assert play.world.deployments_made == 1
    assert play.when(c.SignalContainer, "t3") == [90.0]
    assert zones(play) == {"a": 1, "b": 1}


@pytest.mark.fidelity(
    "ECS-DEPLOY-49", source="API-ECS CreateServiceRequest; ECS-DG-now/track-service-rebalancing; O11", mark="doc"
)
def test_rebalancing_starts_before_it_stops() -> None:
    play = lopsided(minimum=100)
    play.checks.append(lambda before, happened, after, now: _serve(after, 2))
    play.run(300)
    assert zones(play) == {"a": 1, "b": 1}


def _serve(world: World, least: int) -> None:
    assert sum(x.known is TaskStatus.RUNNING and x.is_wanted for x in world.tasks.values()) >= least


@pytest.mark.fidelity(
    "ECS-DEPLOY-49", source="API-ECS CreateServiceRequest; ECS-DG-now/track-service-rebalancing; O11", mark="doc"
)
@pytest.mark.parametrize(
    "knobs", [{"availability_zone_rebalancing": "DISABLED"}, {"maximum": 100, "minimum": 50}], ids=["off", "no_room"]
)
def test_tasks_stay_where_they_are(knobs: dict[str, object]) -> None:
    play = lopsided(**knobs).run(300)
    assert zones(play) == {"a": 2}
    assert play.events() == []


def test_protected_tasks_of_the_full_zone_are_not_moved_and_nothing_goes_round_in_circles() -> None:
    play = lopsided()
    full = [play.name(x.id) for x in play.world.tasks.values() if x.is_wanted]
    protect(play, *full).run(300)
    assert (zones(play), play.when(c.StartTask)) == ({"a": 2}, [])


def test_task_that_fails_in_the_thin_zone_costs_nobody_its_place() -> None:
    play = lopsided()
    play.exceptions.update({x: Behaviour() for x in play.world.tasks})
    play.behaviours["mcp-server:1"] = Behaviour(starts_after_s=None)
    play.run(300)
    assert zones(play)["a"] == 2
    assert play.when(c.StopTask) == []
    play.behaviours["mcp-server:1"] = Behaviour()
    play.run(1_000)
    assert zones(play) == {"a": 1, "b": 1}


def test_replacement_of_an_unhealthy_task_goes_to_its_zone() -> None:
    play = fall_ill(steady(), "t2").run(300)
    assert play.task("t3").availability_zone == play.task("t2").availability_zone
    assert zones(play) == {"a": 1, "b": 1}
