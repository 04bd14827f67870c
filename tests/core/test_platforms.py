"""Profiles of other platforms: what they set, where from, and what they refuse."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rollproof.core.commands import CheckHealth
from rollproof.core.decide import routing_table
from rollproof.core.errors import NotModelled, UsageError
from rollproof.core.knob_table import KNOB_BY_NAME
from rollproof.core.knob_values import get_knob
from rollproof.core.platforms import (
    PLATFORMS,
    Platform,
    find_platform,
    instances_needed,
    refuse_elsewhere,
    settings_on_platform,
    source_of,
    timing_on_platform,
)
from rollproof.core.settings import (
    ContainerHealthCheck,
    PlatformSettings,
    Routing,
    Settings,
    Stickiness,
    TaskDefinition,
)
from rollproof.core.task import TaskStatus
from rollproof.core.timing import Timing
from rollproof.core.validate import validate
from tests.core.play import Play

STICKY = Settings(
    task_definition=TaskDefinition(health_check=ContainerHealthCheck(("CMD", "true"))),
    sources={"target_group.name": "template"},
)
STICKY = replace(STICKY, target_group=replace(STICKY.target_group, stickiness=Stickiness(enabled=True)))
OTHERS = [platform for platform in PLATFORMS.values() if platform.name != "fargate"]


def test_fargate_is_what_the_templates_say() -> None:
    assert settings_on_platform(STICKY, "fargate") == STICKY
    assert timing_on_platform(Timing(), "fargate") == Timing()


@pytest.mark.parametrize("platform", OTHERS, ids=lambda x: x.name)
def test_a_profile_sets_its_knobs_with_their_sources_and_makes_settings_that_can_be_rehearsed(
    platform: Platform,
) -> None:
    settings = settings_on_platform(STICKY, platform.name)
    validate(settings)
    for name, rule in platform.knobs.items():
        knob = KNOB_BY_NAME[name]
        assert get_knob(settings, knob) == rule.value
        assert settings.sources[knob.path] == f"platform {platform.name}: {rule.source}"
    assert settings.sources["target_group.name"] == "template"
    assert not settings.target_group.stickiness.enabled


@pytest.mark.parametrize("platform", OTHERS, ids=lambda x: x.name)
def test_what_a_profile_takes_from_a_platform_has_a_mark(platform: Platform) -> None:
    local = {"desired_count"}  # what this machine holds, no fact of a platform
    unmarked = [
        name
        for name, rule in platform.knobs.items()
        if name not in local and not re.search(r"\[(doc|observed|inferred)\]", rule.source)
    ]
    assert unmarked == []


@pytest.mark.parametrize(
    ("name", "checked", "routing", "timeout_s"),
    [
        ("fargate-no-sticky", True, Routing.COOKIES, 0.0),
        ("app-runner", False, Routing.COOKIES, 120.0),
        ("lambda", False, Routing.EXCLUSIVE, 900.0),
        ("agentcore", False, Routing.BY_SESSION_HEADER, 0.0),
    ],
)
def test_what_tells_the_platforms_apart(name: str, checked: bool, routing: Routing, timeout_s: float) -> None:
    settings = settings_on_platform(STICKY, name)
    assert (settings.task_definition.health_check is not None) is checked
    assert (settings.platform.routing, settings.platform.request_timeout_s) == (routing, timeout_s)


def test_only_ecs_and_app_runner_have_nodes_that_learn_late() -> None:
    late = {name for name in PLATFORMS if timing_on_platform(Timing(), name).drain_propagation_s}
    assert late == {"fargate", "fargate-no-sticky", "app-runner"}


def test_an_unknown_platform_comes_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'azure'") as caught:
        find_platform("azure")
    assert caught.value.hint == "one of fargate, fargate-no-sticky, app-runner, lambda, agentcore"


def test_a_source_without_a_reason_is_inferred() -> None:
    assert source_of("lambda") == "platform lambda: [inferred]"


@pytest.mark.parametrize(
    ("routing", "streams", "needed"),
    [
        (Routing.COOKIES, True, 0),
        (Routing.EXCLUSIVE, False, 5),
        (Routing.EXCLUSIVE, True, 9),
        (Routing.BY_SESSION_HEADER, True, 5),
    ],
)
def test_instances_that_four_sessions_need(routing: Routing, streams: bool, needed: int) -> None:
    settings = PlatformSettings(routing=routing)
    assert instances_needed(settings, 4, streams=streams, slow_sessions=1) == needed


@pytest.mark.parametrize("platform", OTHERS, ids=lambda x: x.name)
def test_a_profile_has_instances_for_the_sessions_it_comes_with(platform: Platform) -> None:
    settings = settings_on_platform(STICKY, platform.name)
    needed = instances_needed(settings.platform, platform.sessions, streams=platform.opens_streams, slow_sessions=1)
    assert needed <= settings.service.desired_count


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (PlatformSettings(routing=Routing.EXCLUSIVE), "nginx does not play routing exclusive"),
        (PlatformSettings(request_timeout_s=120.0), "nginx does not play a request timeout of 120 s"),
    ],
)
def test_what_only_the_embedded_balancer_plays_is_refused_elsewhere(settings: PlatformSettings, says: str) -> None:
    with pytest.raises(NotModelled, match=says) as caught:
        refuse_elsewhere(settings, "nginx")
    assert "--balancer embedded" in caught.value.hint


def test_cookies_are_played_everywhere() -> None:
    refuse_elsewhere(settings_on_platform(STICKY, "fargate-no-sticky").platform, "nginx")


# --- how the scheduler and the target group behave on them ------------------------------------------------------


def on(name: str, desired: int = 3) -> Play:
    """A service on that platform that has just reached its first steady state."""
    found = settings_on_platform(Settings(), name)
    found = replace(found, service=replace(found.service, desired_count=desired))
    play = Play(found, timing_on_platform(Timing(), name)).run_until_steady()
    return play.run(60).mark()


def known(play: Play) -> list[str]:
    return sorted(task.known.name for task in play.world.tasks.values() if task.known is not TaskStatus.STOPPED)


def reach(play: Play) -> set[tuple[str, bool, bool]]:
    """(state, for new sessions, for its own sessions) of every target."""
    table = routing_table(play.world, play.now, 1)
    return {(target.state, target.new, target.sticky) for node in table.nodes for target in node.targets}


def test_agentcores_new_version_is_complete_while_old_instances_serve_their_sessions() -> None:
    play = on("agentcore").update(force_new_deployment=True)
    play.run_until(lambda world: world.deployments_made == 2 and world.is_steady)
    assert play.now < 300
    assert known(play) == ["DEACTIVATING"] * 3 + ["RUNNING"] * 3
    assert len(play.world.deployments) == 1
    assert reach(play) == {("draining", False, True), ("healthy", True, True)}


def test_agentcores_old_instances_keep_nobody_from_deploying_again_and_end_after_eight_hours() -> None:
    play = on("agentcore").update(force_new_deployment=True).run(300).update(force_new_deployment=True).run(300)
    assert known(play) == ["DEACTIVATING"] * 6 + ["RUNNING"] * 3
    play.run(28_800)
    assert known(play) == ["RUNNING"] * 3


def test_lambda_looks_whether_an_instance_is_ready_and_never_again() -> None:
    play = on("lambda")
    before = sum(isinstance(order, CheckHealth) for _, order in play.orders)
    assert before >= 3
    play.run(600)
    assert sum(isinstance(order, CheckHealth) for _, order in play.orders) == before
    assert reach(play) == {("healthy", True, True)}


def test_lambda_stops_choosing_an_old_instance_at_once() -> None:
    play = on("lambda").update(force_new_deployment=True)
    play.run_until(lambda world: any(target.draining_at is not None for target in world.targets.values())).run(1)
    assert reach(play) == {("draining", False, False), ("healthy", True, True)}
