"""`apply`: facts and orders folded into a new world, the old one left alone; late facts change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.errors import IllegalTransition
from rollproof.core.settings import Settings
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.world import MAX_SERVICE_EVENTS, World, apply, create_world
from tests.core.play import Happened, Play, settings
from tests.core.test_service_replacement import crash
from tests.core.test_service_rolling import steady

EMPTY = create_world(Settings(), Timing(), seed=1, now=100.0)


def test_create_is_one_deployment_and_nothing_started() -> None:
    assert [(x.status, x.desired_count, x.created_at) for x in EMPTY.deployments] == [("PRIMARY", 0, 100.0)]
    assert (EMPTY.tasks, EMPTY.targets, EMPTY.service_events) == ({}, {}, ())
    assert EMPTY.next_tick_at == 100.0 + Timing().deployment_start_s


@pytest.mark.parametrize(
    "event",
    [
        e.ContainerStarted("nobody", "10.0.0.1:80"),
        e.ContainerStartFailed("nobody", "why"),
        e.ContainerExited("nobody", 1),
        e.ContainerHealthChanged("nobody", True),
        e.TaskProtectionChanged("nobody", True),
        e.TaskStopRequested("nobody"),
        e.HealthCheckAnswered("node-0", "10.0.0.9:80", 200),
    ],
    ids=lambda x: type(x).__name__,
)
def test_fact_about_something_that_is_gone_changes_nothing(event: e.Event) -> None:
    assert apply(EMPTY, event, 200.0) is EMPTY


@pytest.mark.parametrize(
    "order",
    [c.StopTask("nobody", None, ""), c.RegisterTarget("nobody"), c.CheckHealth("node-0", "nobody")],  # type: ignore[arg-type]
    ids=lambda x: type(x).__name__,
)
def test_order_about_something_that_is_gone_is_ours_to_get_right(order: c.Command) -> None:
    with pytest.raises(KeyError):
        apply(EMPTY, order, 200.0)


def test_rollback_without_a_completed_deployment_is_illegal() -> None:
    with pytest.raises(IllegalTransition, match="no completed deployment"):
        apply(EMPTY, c.RollBack(), 200.0)


def test_second_address_of_a_container_is_a_late_report() -> None:
    play = steady()
    task = play.task("t1")
    play.tell(e.ContainerStarted(task.id, "10.9.9.9:1")).run(0)
    assert play.task("t1").address == task.address


def test_protection_is_counted_in_minutes_and_given_back() -> None:
    play = steady()
    task = play.task("t1")
    play.tell(e.TaskProtectionChanged(task.id, True, 60)).run(0)
    assert play.task("t1").protected_until == play.now + 3_600
    play.tell(e.TaskProtectionChanged(task.id, False)).run(0)
    assert play.task("t1").protected_until is None


@pytest.mark.fidelity("ECS-EVENT-1", source="ECS-DG/service-event-messages", mark="doc")
def test_service_keeps_its_last_hundred_events() -> None:
    world = EMPTY
    for number in range(MAX_SERVICE_EVENTS + 5):
        world = apply(world, c.EmitServiceEvent(str(number)), 200.0)
    assert [x.message for x in world.service_events] == [str(n) for n in range(5, 105)]
    assert world.service_events[-1].at == pytest.approx(200.104)


@pytest.mark.fidelity("ECS-TASK-40", source="CLI-EX", mark="observed")
def test_stopped_task_is_forgotten_after_an_hour() -> None:
    play = crash(steady(), "t1").run(3_600)
    assert play.task("t1").known is TaskStatus.STOPPED
    play.run(40)
    assert "t1" not in [play.name(x) for x in play.world.tasks]


def test_task_is_not_forgotten_while_its_target_still_drains() -> None:
    """The longest delay is an hour, and a crash is noticed late where nobody looked: its container is removed first."""
    play = steady(desired=1, delay_s=3_600.0)
    play.timing = replace(play.timing, stopped_task_retention_s=600.0)
    play.world = replace(play.world, timing=play.timing)
    crash(play, "t1").run(3_600)
    assert "t1" in [play.name(x) for x in play.world.tasks]
    play.run(30)
    assert len(play.when(c.RemoveContainer, "t1")) == 1
    assert "t1" not in [play.name(x) for x in play.world.tasks]


@pytest.mark.parametrize("seed", [1, 2])
def test_same_seed_same_history(seed: int) -> None:
    def history() -> list[str]:
        play = Play(settings(), seed=seed).run_until_steady()
        play.update(force_new_deployment=True).run(20)
        return crash(play, "t1").run(600).story()

    assert history() == history()


def test_other_seed_other_ids() -> None:
    ids = [set(Play(settings(), seed=seed).run(15).world.tasks) for seed in (1, 2)]
    assert not ids[0] & ids[1]


def test_old_world_stays_as_it_was() -> None:
    seen: list[tuple[World, str]] = []

    def remember(before: World, happened: Happened, after: World, now: float) -> None:
        seen.append((before, repr(before)))
        assert happened.__dataclass_params__.frozen  # type: ignore[union-attr]

    play = Play(settings(delay_s=5.0), checks=[remember], tells_story=False).run_until_steady()
    play.update(force_new_deployment=True).run(100)
    assert all(repr(world) == looked for world, looked in seen)
