"""Whole timelines as text: every service event, status, target state, node's view and signal, with its second.

A change of the core shows here as a difference of the story. Is the new story the true one? Then
ROLLPROOF_GOLDEN=write writes it down, and the difference goes through review with the change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollproof.core import events as e
from rollproof.core.settings import CircuitBreaker
from tests.core.play import Behaviour, Play, settings

GOLDEN = Path(__file__).with_name("golden")
ROLLBACK = CircuitBreaker(enable=True, rollback=True)
IGNORES_SIGTERM = Behaviour(exits_on_sigterm_after_s=None)


def steady(**knobs: object) -> Play:
    return Play(settings(**knobs)).run_until_steady().run(8).mark()  # type: ignore[arg-type]


def rollout_start_first() -> Play:
    return steady().update(force_new_deployment=True).run(600)


def rollout_stop_first() -> Play:
    return steady(minimum=50, maximum=100, delay_s=30.0).update(force_new_deployment=True).run(400)


def rollout_stop_and_start_at_once() -> Play:
    return steady(minimum=0, maximum=200, delay_s=30.0).update(force_new_deployment=True).run(200)


def rollout_in_halves() -> Play:
    return steady(desired=4, minimum=100, maximum=150, delay_s=30.0).update(force_new_deployment=True).run(400)


def rollout_delay_shorter_than_propagation() -> Play:
    return steady(delay_s=5.0).update(force_new_deployment=True).run(200)


def rollout_ignores_sigterm() -> Play:
    play = Play(settings(desired=1, delay_s=30.0), behaviours={"mcp-server:1": IGNORES_SIGTERM})
    return play.run_until_steady().run(8).mark().deploy(2, Behaviour()).run(300)


def rollout_held_up_by_protection() -> Play:
    play = steady(delay_s=30.0)
    play.tell(e.TaskProtectionChanged(play.task("t1").id, True, 5))
    return play.update(force_new_deployment=True).run(500)


def rollout_stuck() -> Play:
    return steady(desired=1, minimum=100, maximum=150).update(force_new_deployment=True).run(300)


def bad_image_rolled_back() -> Play:
    return steady(circuit_breaker=ROLLBACK).deploy(2, Behaviour(starts_after_s=None)).run(200)


def never_listens_rolled_back() -> Play:
    return steady(circuit_breaker=ROLLBACK, delay_s=30.0).deploy(2, Behaviour(answers_after_s=math.inf)).run(400)


def task_unhealthy() -> Play:
    play = steady(delay_s=30.0)
    return play.behave(play.task("t1").id, Behaviour(health_status=503)).run(200)


def task_crashed() -> Play:
    play = steady(delay_s=30.0)
    return play.tell(e.ContainerExited(play.task("t1").id, 137)).run(150)


def task_stopped_by_user() -> Play:
    play = steady(delay_s=30.0)
    return play.tell(e.TaskStopRequested(play.task("t1").id, "maintenance")).run(150)


def task_stopped_by_user_without_drain() -> Play:
    play = steady(delay_s=30.0, stop_task_drains=False)
    return play.tell(e.TaskStopRequested(play.task("t1").id)).run(150)


def scaled_in() -> Play:
    return steady(desired=3, delay_s=30.0).update(desired_count=1).run(150)


STORIES: list[Callable[[], Play]] = [
    rollout_start_first,
    rollout_stop_first,
    rollout_stop_and_start_at_once,
    rollout_in_halves,
    rollout_delay_shorter_than_propagation,
    rollout_ignores_sigterm,
    rollout_held_up_by_protection,
    rollout_stuck,
    bad_image_rolled_back,
    never_listens_rolled_back,
    task_unhealthy,
    task_crashed,
    task_stopped_by_user,
    task_stopped_by_user_without_drain,
    scaled_in,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda x: x.__name__)
def test_story_is_told_as_before(story: Callable[[], Play]) -> None:
    told, path = story().story(), GOLDEN / f"{story.__name__}.txt"
    if os.environ.get("ROLLPROOF_GOLDEN") == "write":
        path.write_text("\n".join(told) + "\n", encoding="utf-8")
    assert told == path.read_text(encoding="utf-8").splitlines()


def test_every_golden_file_has_its_story() -> None:
    assert {x.stem for x in GOLDEN.glob("*.txt")} == {x.__name__ for x in STORIES}
