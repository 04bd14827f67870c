"""UpdateService at odd moments: before the last one has begun, during a rollout, during a rollback, and for nothing."""

from __future__ import annotations

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.deployment import RolloutState
from rollproof.core.service_end import is_stuck
from tests.core.play import Behaviour, Play, revision
from tests.core.test_service_breaker import NEVER_LISTENS, NO_IMAGE, ROLLBACK
from tests.core.test_service_rolling import batches, steady


def definitions(play: Play) -> list[str]:
    return sorted(play.task(x).definition[-1] for x in play.tasks())


@pytest.mark.fidelity("ECS-DEPLOY-9", "ECS-DEPLOY-11")
@pytest.mark.parametrize(
    ("asked", "deploys"),
    [
        pytest.param({"force_new_deployment": True}, True, id="force"),
        pytest.param({"desired_count": 3}, False, id="desired_count"),
        pytest.param({"minimum_healthy_percent": 50, "maximum_percent": 150}, False, id="percents"),
        pytest.param({"health_check_grace_period_s": 60.0}, False, id="grace_period"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_update_deploys_or_only_changes_the_service(asked: dict[str, object], deploys: bool) -> None:
    play = steady()
    play.update(**asked)
    assert (len(play.world.deployments) == 2) is deploys
    for name, value in asked.items():
        if name != "force_new_deployment":
            assert getattr(play.world.settings.service, name) == value


@pytest.mark.fidelity("ECS-DEPLOY-9", source="API-ECS UpdateServiceRequest", mark="doc")
def test_update_to_the_same_task_definition_deploys_only_by_force() -> None:
    play = steady()
    same = play.world.settings.task_definition
    play.update(task_definition=same)
    assert len(play.world.deployments) == 1
    play.update(task_definition=same, force_new_deployment=True)
    assert len(play.world.deployments) == 2


@pytest.mark.fidelity("ECS-DEPLOY-12", source="API-ECS UpdateServiceRequest", mark="doc")
def test_update_of_definition_and_count_at_once() -> None:
    play = steady(delay_s=30.0)
    play.update(task_definition=revision(2), desired_count=3).run_until_steady()
    assert definitions(play) == ["2", "2", "2"]
    assert play.events()[2] == "    12.0  has started 3 tasks: t3 t4 t5."


def test_updates_in_quick_succession_leave_the_last() -> None:
    play = steady(delay_s=30.0)
    for number in (2, 3, 4):
        play.deploy(number).run(5)
    play.run_until_steady()
    assert definitions(play) == ["4", "4"]
    assert batches(play) == ["+2", "-2"]
    assert len(play.world.deployments) == 1


def test_updates_that_never_cease_do_not_hold_up_what_was_going_on() -> None:
    """A new deployment begins 12 s later; the passes of the scheduler go on meanwhile."""
    play = steady(delay_s=30.0)
    play.tell(e.TaskStopRequested(play.task("t1").id)).run(0)
    for _ in range(30):
        play.update(force_new_deployment=True).run(5)
    assert len(play.when(c.SignalContainer, "t1")) == 1


def test_update_before_the_service_has_started_anything() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(2)
    play.update(force_new_deployment=True).run(13)
    assert play.when(c.StartTask) == [14.0]
    assert [x.status for x in play.world.deployments] == ["PRIMARY", "ACTIVE"]


def test_update_during_a_rollout_replaces_both_revisions() -> None:
    play = steady(delay_s=30.0)
    play.deploy(2).run(50)
    play.deploy(3).run_until_steady()
    assert definitions(play) == ["3", "3"]
    assert [x.split("  ")[-1] for x in play.events() if "completed" in x][1:] == ["C deployment completed."]


def test_update_during_a_rollout_that_hangs_makes_room_for_itself() -> None:
    play = steady(desired=1, delay_s=30.0, health_check_grace_period_s=3_000.0)
    play.deploy(2, NEVER_LISTENS).run(300)
    assert sorted(definitions(play)) == ["1", "2"]
    play.deploy(3).run_until_steady()
    assert definitions(play) == ["3"]
    assert play.now - play.zero < 700


@pytest.mark.parametrize(("desired", "minimum", "maximum"), [(2, 100, 200), (1, 100, 200), (2, 100, 150), (2, 0, 100)])
def test_update_while_the_running_revision_is_broken_gets_its_room(desired: int, minimum: int, maximum: int) -> None:
    """A revision that never gets healthy must not take the room of the deployment that mends it."""
    play = steady(desired=desired, minimum=minimum, maximum=maximum, delay_s=60.0)
    play.behaviours["mcp-server:1"] = Behaviour(health_status=503)
    play.run(400).mark().deploy(2).run_until(lambda world: world.is_steady, at_most_s=1_000)
    assert definitions(play) == ["2"] * desired


def test_update_during_a_rollback_goes_forward() -> None:
    play = steady(circuit_breaker=ROLLBACK, delay_s=30.0)
    play.deploy(2, NEVER_LISTENS).run_until(lambda world: world.primary.is_rolling_back)
    play.deploy(3).run_until_steady()
    assert definitions(play) == ["3", "3"]
    assert len(play.world.deployments) == 1


def test_update_during_a_rollback_that_fails_rolls_back_to_the_same() -> None:
    play = steady(circuit_breaker=ROLLBACK, delay_s=300.0)
    first = play.world.primary.id
    play.deploy(2, NEVER_LISTENS).run_until(lambda world: world.primary.is_rolling_back)
    play.deploy(3, NO_IMAGE).run_until(lambda world: world.primary.is_rolling_back)
    assert play.world.primary.id == first
    assert play.world.primary.rollout_state is RolloutState.IN_PROGRESS
    play.run_until_steady()
    assert definitions(play) == ["1", "1"]
    assert [x.split("  ")[-1] for x in play.events()][-2:] == ["A deployment completed.", "has reached a steady state."]


def test_update_back_to_the_first_definition_is_a_deployment_of_its_own() -> None:
    play = steady(delay_s=30.0)
    play.deploy(2).run_until_steady()
    play.deploy(1).run_until_steady()
    assert definitions(play) == ["1", "1"]
    assert play.world.deployments_made == 3


def test_update_while_the_running_revision_crashes_again_and_again_gets_its_room() -> None:
    play = steady(maximum=150, delay_s=300.0)
    play.behaviours["mcp-server:1"] = Behaviour(crashes_after_s=12.0)
    for name in ("t1", "t2"):
        play.tell(e.ContainerExited(play.task(name).id, 1))
    play.run(300).mark().deploy(2).run_until(lambda world: world.is_steady, at_most_s=300)
    assert definitions(play) == ["2", "2"]


def test_update_without_a_place_above_the_floor_is_named_stuck_though_old_tasks_crash_and_come_back() -> None:
    play = steady(desired=3, minimum=75, maximum=125, delay_s=5.0)
    play.behaviours["mcp-server:1"] = Behaviour(crashes_after_s=25.0)
    for name in ("t1", "t2", "t3"):
        play.tell(e.ContainerExited(play.task(name).id, 1), after_s=7.0 * int(name[1]))
    play.run(100).mark().deploy(2).run(600)
    assert {x.definition for x in play.world.tasks.values()} == {"mcp-server:1"}
    assert sum("was unable to stop or start tasks" in x for x in play.events()) == 1
    assert is_stuck(play.world, play.now)


def test_update_with_one_place_above_the_floor_goes_on_though_old_tasks_crash_at_all_times() -> None:
    play = steady(desired=10, minimum=100, maximum=110, delay_s=300.0)
    play.behaviours["mcp-server:1"] = Behaviour(crashes_after_s=40.0)
    for number in range(1, 11):
        play.tell(e.ContainerExited(play.task(f"t{number}").id, 1), after_s=6.0 * number)
    play.run(100).mark().deploy(2).run_until(lambda world: world.is_steady, at_most_s=1_500)
    assert definitions(play) == ["2"] * 10


def test_update_of_the_percents_frees_a_stuck_deployment() -> None:
    play = steady(desired=1, minimum=100, maximum=100, delay_s=30.0)
    play.update(force_new_deployment=True).run(100)
    assert play.events()[-1].startswith("    12.0  was unable to stop or start tasks during a deployment")
    play.update(maximum_percent=200).run_until_steady()
    assert batches(play) == ["+1", "-1"]


def test_update_of_the_grace_period_counts_for_running_tasks() -> None:
    play = steady()
    play.exceptions[play.task("t1").id] = Behaviour(health_status=503)
    play.update(health_check_grace_period_s=10_000.0).run(500)
    assert play.when(c.JudgeUnhealthy) == []
