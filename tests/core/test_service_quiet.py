"""Until when passes may be passed over: up to there `decide` finds nothing, whatever the moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollproof.core import events as e
from rollproof.core.decide import decide
from rollproof.core.service_quiet import quiet_until
from rollproof.core.settings import CircuitBreaker
from tests.core.play import Behaviour, Play, settings
from tests.core.test_service_rolling import steady

REPEAT_S = 21_600.0


def quiet(play: Play) -> float:
    """As after a pass that decided nothing."""
    assert decide(replace(play.world, next_tick_at=play.now + 10.0), play.now) == []
    return quiet_until(play.world, play.now)


def test_steady_service_is_quiet_until_it_says_so_again() -> None:
    play = steady().run(100)
    said = [x.at for x in play.world.service_events]
    assert quiet(play) == min(at for at in said if at + REPEAT_S > play.now) + REPEAT_S


def test_deployment_that_has_not_begun_is_not_quiet() -> None:
    play = steady().update(force_new_deployment=True)
    assert quiet_until(play.world, play.now) == play.now


@pytest.mark.parametrize("grace_s", [0.0, 25.0])
def test_running_task_is_looked_at_when_its_grace_is_over_and_when_it_has_baked(grace_s: float) -> None:
    play = steady(health_check_grace_period_s=grace_s).update(force_new_deployment=True).run(45)
    started_at = play.task("t3").started_at
    assert started_at is not None
    assert quiet(play) == started_at + (grace_s or play.timing.healthy_bake_s)


def test_protection_ends_by_itself() -> None:
    play = steady().run(100)
    play.tell(e.TaskProtectionChanged(play.task("t1").id, True, 5)).run(0)
    assert quiet_until(play.world, play.now) == play.now + 300


def test_crash_is_reported_a_while_later_and_forgotten_after_an_hour() -> None:
    play = steady(delay_s=0.0).run(100)
    crashed = play.task("t1")
    play.tell(e.ContainerExited(crashed.id, 1)).run(0)
    assert quiet_until(play.world, play.now) == play.now  # its target is to be deregistered
    play.run(300)
    stopped_at = play.task("t1").stopped_at
    assert stopped_at is not None
    assert quiet_until(play.world, play.now) == stopped_at + play.timing.stopped_task_retention_s


def test_decision_to_stop_is_of_this_pass() -> None:
    play = steady().update(force_new_deployment=True)
    play.run_until(lambda world: any(x.stop_decided_at is not None for x in world.tasks.values()))
    assert quiet_until(play.world, play.now) == play.now


def test_draining_shows_a_moment_after_the_pass() -> None:
    play = steady().update(force_new_deployment=True)
    play.run_until(lambda world: any(x.draining_at is not None for x in world.targets.values()))
    world = play.world
    tasks = {k: replace(x, deregistered_at=None, registered_at=None) for k, x in world.tasks.items()}
    draining_at = max(x.draining_at for x in world.targets.values() if x.draining_at is not None)
    assert quiet_until(replace(world, tasks=tasks), play.now) == draining_at


def test_interrupted_task_is_signalled_though_its_target_still_drains() -> None:
    play = steady(delay_s=300.0).run(100)
    play.tell(e.SpotInterrupted(play.task("t1").id)).run(60)
    decided_at = play.task("t1").stop_decided_at
    assert decided_at is not None
    assert quiet_until(play.world, play.now) <= decided_at + 90.0
    assert quiet_until(play.world, decided_at + 89.0) == decided_at + 90.0


def test_throttled_start_comes_by_itself() -> None:
    play = Play(settings(circuit_breaker=CircuitBreaker()), behaviours={"mcp-server:1": Behaviour(starts_after_s=None)})
    play.run(100)
    [deployment] = play.world.deployments
    assert deployment.next_start_at > play.now
    assert quiet_until(play.world, play.now) <= deployment.next_start_at
