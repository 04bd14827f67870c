"""AWS's waiters over rollouts: when they are content, and what they do not see."""

from __future__ import annotations

import pytest

from rollproof.core.describe import describe
from rollproof.core.waiters import WAITERS, Answer
from tests.core.play import Play
from tests.core.test_service_breaker import NO_IMAGE, ROLLBACK
from tests.core.test_service_replacement import SICK, crash, fall_ill
from tests.core.test_service_rolling import steady

SUCCESS, RETRY, FAILURE = Answer.SUCCESS, Answer.RETRY, Answer.FAILURE


def ask(play: Play, waiter: str, *names: str) -> Answer:
    return WAITERS[waiter].look(describe(play.world, play.now), [play.task(x).id for x in names])


@pytest.mark.fidelity("ECS-DEPLOY-18", "ECS-DEPLOY-22", "ECS-DEPLOY-23", "ECS-DEPLOY-24", "ECS-DEPLOY-25")
@pytest.mark.fidelity("ECS-DEPLOY-26")
def test_each_waiter_asks_as_often_as_awss() -> None:
    assert {name: (x.every_s, x.tries) for name, x in WAITERS.items()} == {
        "services-stable": (15, 40),
        "services-inactive": (15, 40),
        "tasks-running": (6, 100),
        "tasks-stopped": (6, 100),
        "target-in-service": (15, 40),
        "target-deregistered": (15, 40),
    }


@pytest.mark.fidelity("ECS-DEPLOY-18", source="WAITERS", mark="doc")
def test_services_stable_needs_one_deployment_and_all_tasks_running() -> None:
    play = Play().run(15)
    assert ask(play, "services-stable") is RETRY  # one deployment, nothing runs
    play.run_until_steady()
    assert ask(play, "services-stable") is SUCCESS
    play.update(force_new_deployment=True)
    assert ask(play, "services-stable") is RETRY  # all run, two deployments
    crash(play.run_until_steady(), "t3")
    assert ask(play, "services-stable") is RETRY


@pytest.mark.fidelity("ECS-DEPLOY-20", source="WAITERS; O6", mark="inferred")
def test_services_stable_waits_through_drain_and_stop() -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(200)
    assert play.states() == {"t1": "draining", "t2": "healthy"}
    assert ask(play, "services-stable") is RETRY
    while ask(play, "services-stable") is RETRY:
        play.run(15)
    assert play.now - play.zero > 92 + 300 + 10
    assert play.events()[-1].endswith("has reached a steady state.")


@pytest.mark.fidelity("ECS-DEPLOY-21", "TRAP-20")
def test_services_stable_is_true_after_a_rollback_too() -> None:
    play = steady(circuit_breaker=ROLLBACK)
    play.deploy(2, NO_IMAGE).run(300)
    assert ask(play, "services-stable") is SUCCESS
    assert play.world.settings.task_definition.revision == 1


@pytest.mark.fidelity("ECS-DEPLOY-19", "ECS-DEPLOY-22")
def test_without_a_service_stable_fails_at_once_and_inactive_is_true() -> None:
    assert WAITERS["services-stable"].look(None, []) is FAILURE
    assert WAITERS["services-inactive"].look(None, []) is SUCCESS
    assert ask(steady(), "services-inactive") is RETRY


@pytest.mark.fidelity("ECS-DEPLOY-23", source="WAITERS", mark="doc")
def test_tasks_running_fails_when_one_stops() -> None:
    play = Play().run(15)
    assert ask(play, "tasks-running", "t1", "t2") is RETRY
    play.run_until_steady()
    assert ask(play, "tasks-running", "t1", "t2") is SUCCESS
    crash(play, "t1")
    assert ask(play, "tasks-running", "t1", "t2") is RETRY  # DEPROVISIONING
    play.run(30)
    assert ask(play, "tasks-running", "t1", "t2") is FAILURE
    assert WAITERS["tasks-running"].look(describe(play.world, play.now), ["unknown"]) is FAILURE


@pytest.mark.fidelity("ECS-DEPLOY-24", source="WAITERS", mark="doc")
def test_tasks_stopped_needs_all_of_them() -> None:
    play = crash(steady(), "t1").run(30)
    assert ask(play, "tasks-stopped", "t1") is SUCCESS
    assert ask(play, "tasks-stopped", "t1", "t2") is RETRY


@pytest.mark.fidelity("ECS-DEPLOY-25", source="WAITERS", mark="doc")
def test_target_in_service_needs_every_target_healthy() -> None:
    play = fall_ill(steady(), "t1", SICK)
    assert ask(play, "target-in-service", "t1", "t2") is SUCCESS
    play.run(45)
    assert ask(play, "target-in-service", "t2") is SUCCESS
    assert ask(play, "target-in-service", "t1", "t2") is RETRY


@pytest.mark.fidelity("ECS-DEPLOY-26", "ALB-HEALTH-8")
@pytest.mark.parametrize(
    ("at", "answer"), [(50, RETRY), (100, RETRY), (390, RETRY), (400, SUCCESS)],
    ids=["healthy", "draining", "still_draining", "unused"],
)  # fmt: skip
def test_target_deregistered_is_not_true_while_one_drains(at: float, answer: Answer) -> None:
    play = steady(desired=1)
    play.update(force_new_deployment=True).run(at)
    assert ask(play, "target-deregistered", "t1") is answer
