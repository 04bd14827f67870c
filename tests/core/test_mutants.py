"""Small lies in the core, one at a time: each must be caught by the check that is there for it.

A mutant swaps the code of one function for the same source with a few characters changed. The named check, a test
of its own that passes on the true core, has to fail on the mutant. A check that does not notice is worth nothing.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import cast

import pytest

from rollproof.core import (
    deployment,
    service_census,
    service_end,
    service_health,
    service_starts,
    service_stops,
    service_zones,
    target_group,
    world,
)
from rollproof.core.errors import RollproofError
from tests.core import laws
from tests.core import test_service_breaker as breaker
from tests.core import test_service_replacement as replacement
from tests.core import test_service_rolling as rolling
from tests.core import test_service_scaling as scaling
from tests.core import test_service_updates as updates
from tests.core import test_target_group as group
from tests.core.play import Check, Play, settings

ROLLOUTS = [(2, 100, 200), (3, 100, 150), (5, 50, 100)]


def rollouts_obey(law: Check) -> Callable[[], None]:
    """A check: some plain rollouts with this one law after every step."""

    def check() -> None:
        for desired, minimum, maximum in ROLLOUTS:
            chosen = settings(desired=desired, minimum=minimum, maximum=maximum, delay_s=30.0)
            play = Play(chosen, checks=[law], tells_story=False).run_until_steady()
            play.update(force_new_deployment=True).run_until_steady()

    return check


@dataclass(frozen=True)
class Mutant:
    function: Callable[..., object]
    true: str
    false: str
    caught_by: Callable[[], None]


MUTANTS = {
    "drain_sigterm_does_not_wait_for_the_target": Mutant(
        service_stops.signal, "not in world.targets", "!= ''", rollouts_obey(laws.drain_comes_first)
    ),
    "drain_delay_not_counted": Mutant(
        target_group.drained_at,
        "+ rules.settings.deregistration_delay_s",
        "+ 0 * rules.settings.deregistration_delay_s",
        rollouts_obey(laws.drain_comes_first),
    ),
    "floor_rounded_down": Mutant(
        deployment.minimum_healthy,
        "-(-desired * percent // 100)",
        "desired * percent // 100",
        rollouts_obey(laws.floor_holds),
    ),
    "floor_off_by_one": Mutant(
        service_stops.roll, "- floor(world)", "- floor(world) + 1", rollouts_obey(laws.floor_holds)
    ),
    "floor_counts_unhealthy_targets": Mutant(
        service_census.is_healthy,
        "if has_load_balancer and",
        "if False and",
        rolling.test_new_task_that_is_slow_to_answer_delays_the_stop,
    ),
    "ceiling_counts_only_wanted_tasks": Mutant(
        service_census.room, "task.known is not TaskStatus.STOPPED", "task.is_wanted", rollouts_obey(laws.ceiling_holds)
    ),
    "ceiling_off_by_one": Mutant(deployment.maximum_total, "// 100", "// 100 + 1", rollouts_obey(laws.ceiling_holds)),
    "deployment_retired_while_its_tasks_drain": Mutant(
        service_end.retire,
        "task.known is TaskStatus.STOPPED",
        "not task.is_wanted",
        rollouts_obey(laws.nothing_is_orphaned),
    ),
    "breaker_threshold_not_clamped": Mutant(
        deployment.failure_threshold,
        "max(3,",
        "max(1,",
        lambda: breaker.test_breaker_trips_at_its_threshold(breaker.ON, 1, 3),
    ),
    "breaker_counts_crashes_of_running_tasks": Mutant(
        service_health.count,
        "task.started_at is None",
        "True",
        breaker.test_crash_loop_after_running_does_not_trip_the_breaker,
    ),
    "rollback_under_another_id": Mutant(
        world._roll_back,
        "is_rolling_back=True,",
        "is_rolling_back=True, number=last.number[::-1],",
        breaker.test_bad_image_rolls_back_to_the_last_completed_deployment_under_its_own_id,
    ),
    "throttle_ignored": Mutant(
        service_starts._starts,
        "now < deployment.next_start_at",
        "now > deployment.next_start_at + 9e9",
        breaker.test_starts_that_never_run_come_ever_more_slowly,
    ),
    "bake_ignored": Mutant(
        service_census.is_healthy, "if not baked or", "if True or", rolling.test_forced_deployment_one_task
    ),
    "healthy_only_after_the_threshold": Mutant(
        target_group.check_answered,
        "1 if node.state is T.INITIAL else check.healthy_threshold",
        "check.healthy_threshold",
        lambda: group.test_health_follows_the_thresholds([200], "healthy"),
    ),
    "draining_target_becomes_healthy_again": Mutant(
        target_group.check_answered,
        "or target.draining_at is not None",
        "",
        group.test_answer_for_an_unknown_node_or_a_draining_target_changes_nothing,
    ),
    "nodes_learn_at_once": Mutant(
        target_group.learned_at,
        "lag = rules.timing.drain_propagation_s",
        "lag = 0.0",
        group.test_nodes_learn_of_a_drain_late_and_each_in_its_own_time,
    ),
    "no_fail_open": Mutant(
        target_group.row,
        "(fail_open and",
        "(False and",
        replacement.test_all_unhealthy_fails_open_until_they_recover,
    ),
    "fail_open_ignores_the_percentage": Mutant(
        target_group.fails_open,
        "or is_below_percent",
        "",
        lambda: group.test_fail_open_below_the_minimum_percentage_of_healthy_targets(
            51, {"a": [200], "b": [503, 503]}, {"a": group.YES, "b": group.YES}
        ),
    ),
    "rebalancing_moves_protected_tasks": Mutant(
        service_zones.rebalance,
        "if not x.is_protected(now)",
        "",
        scaling.test_protected_tasks_of_the_full_zone_are_not_moved_and_nothing_goes_round_in_circles,
    ),
    "rebalancing_stops_what_it_has_just_started": Mutant(
        service_stops._surplus,
        "and (x.id in healthy or not x.rebalances)",
        "",
        scaling.test_steady_service_moves_a_task_to_the_thin_zone_without_a_deployment,
    ),
    "new_tasks_balance_with_the_old_ones": Mutant(
        service_starts._thinnest,
        "own[deployment_id, zone], ",
        "",
        lambda: rolling.test_rollout_goes_in_batches(2, 50, 200, ["-1", "+2", "-1"]),
    ),
    "grace_period_ignored": Mutant(
        service_health.judge,
        "now < task.started_at + service.health_check_grace_period_s",
        "now < task.started_at",
        lambda: replacement.test_grace_period_counts_from_the_start_of_the_task(100.0),
    ),
    "replacement_in_grace_spares_the_old_task": Mutant(
        service_stops.stop_unhealthy,
        "_fails_checks(world, replacement, now)",
        "replacement.unhealthy_reason",
        replacement.test_old_unhealthy_task_goes_when_its_replacement_fails_within_its_grace,
    ),
    "protection_ignored": Mutant(
        service_stops._replaced,
        "if not x.is_protected(now)",
        "",
        scaling.test_protected_tasks_hold_a_rollout_up_until_it_expires,
    ),
    "broken_revision_takes_the_room": Mutant(
        service_starts._starts,
        "first = 1 if",
        "first = 0 if",
        lambda: updates.test_update_while_the_running_revision_is_broken_gets_its_room(2, 100, 150),
    ),
    "updates_starve_the_scheduler": Mutant(
        world._update_service,
        "min(world.next_tick_at, now + world.timing.deployment_start_s)",
        "now + world.timing.deployment_start_s",
        updates.test_updates_that_never_cease_do_not_hold_up_what_was_going_on,
    ),
}


def mutated(mutant: Mutant) -> FunctionType:
    """The function with its source changed, compiled where the true one lives."""
    function = cast(FunctionType, mutant.function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mutant.true) == 1, f"{mutant.true!r} is not in {function.__name__} exactly once"
    flags = __future__.annotations.compiler_flag
    code = compile(source.replace(mutant.true, mutant.false), "<mutant>", "exec", flags, dont_inherit=True)
    names: dict[str, FunctionType] = {}
    exec(code, function.__globals__, names)
    return names[function.__name__]


@pytest.mark.parametrize("law", laws.LAWS)
def test_true_core_obeys(law: Check) -> None:
    rollouts_obey(law)()


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    monkeypatch.setattr(mutant.function, "__code__", mutated(mutant).__code__)
    with pytest.raises((AssertionError, RollproofError, LookupError)):
        mutant.caught_by()
