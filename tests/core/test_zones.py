"""An Availability Zone that can place nothing for a while, and what ECS does when it is back."""

from __future__ import annotations

from collections import Counter

import pytest

from rollproof.core import events as e
from tests.core.play import Play
from tests.core.test_service_rolling import steady

A, B = "us-east-1a", "us-east-1b"


def zone(play: Play, name: str, *, is_available: bool) -> Play:
    return play.tell(e.ZoneAvailabilityChanged(name, is_available)).run(0)


def zones(play: Play) -> Counter[str]:
    return Counter(play.task(x).availability_zone for x in play.tasks())


def test_an_impaired_zone_gets_no_task() -> None:
    play = zone(steady(desired=2), A, is_available=False)
    play.update(desired_count=4).run(200)
    assert [play.task(x).availability_zone for x in ("t3", "t4")] == [B, B]


def test_a_zone_that_can_place_nothing_is_not_rebalanced_to() -> None:
    play = zone(steady(desired=2), B, is_available=False)
    play.update(force_new_deployment=True).run_until_steady().run(600)
    assert zones(play) == {A: 2}
    assert not [line for line in play.events() if "AZ balanced" in line]


@pytest.mark.fidelity(
    "ECS-DEPLOY-49", source="API-ECS CreateServiceRequest; ECS-DG-now/track-service-rebalancing; O11", mark="doc"
)
def test_a_zone_that_is_back_gets_its_share_and_a_task_elsewhere_is_stopped() -> None:
    play = zone(steady(desired=2, delay_s=30.0), B, is_available=False)
    play.update(force_new_deployment=True).run_until_steady().run(100).mark()
    zone(play, B, is_available=True).run(300)
    said = [line[10:] for line in play.events()]
    assert said[:2] == [
        "is not AZ balanced with 2 tasks in us-east-1a, 0 tasks in us-east-1b. AZ Rebalancing in progress.",
        "has started 1 tasks in us-east-1b to AZ Rebalance: t5.",
    ]
    assert said[-1] == "is AZ balanced with 1 tasks in us-east-1a, 1 tasks in us-east-1b."
    assert zones(play) == {A: 1, B: 1}


def test_where_no_zone_can_place_anything_tasks_start_all_the_same() -> None:
    play = zone(zone(steady(desired=2), A, is_available=False), B, is_available=False)
    play.update(desired_count=4).run(200)
    assert zones(play) == {A: 2, B: 2}
