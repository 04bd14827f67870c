"""One target group without a scheduler: registration, checks, draining, fail-open, and what each node is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rollproof.core import target_group as tg
from rollproof.core.errors import IllegalTransition
from rollproof.core.events import HealthCheckAnswered
from rollproof.core.settings import Behaviour, HealthCheck, PlatformSettings, Routing, TargetGroupSettings
from rollproof.core.timing import Timing

T = tg.TargetState
RULES = tg.Rules(TargetGroupSettings(), Behaviour(), Timing(), seed=1)
INITIAL, HEALTHY, UNHEALTHY = "initial", "healthy", "unhealthy"


def rules(
    nodes: int = 1, delay_s: float = 300.0, sticky: bool = False, slow_start_s: float = 0.0, **check: int
) -> tg.Rules:
    group = TargetGroupSettings(
        deregistration_delay_s=delay_s,
        slow_start_s=slow_start_s,
        health_check=HealthCheck(**check),  # type: ignore[arg-type]
    )
    return tg.Rules(group, Behaviour(nodes=nodes, sticky_overrides_drain=sticky), Timing(), seed=1)


def answered(
    target: tg.Target, statuses: Sequence[int | None], how: tg.Rules, node: str = "node-0", at: float = 10.0
) -> tg.Target:
    for status in statuses:
        target = tg.check_answered(target, HealthCheckAnswered(node, target.id, status, "timeout"), at, how)
    return target


def registered(how: tg.Rules, name: str = "a:80") -> tg.Target:
    return tg.register(name, f"task of {name}", 0.0, how)


# --- health ------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ALB-HEALTH-16", "ALB-HEALTH-17", "ALB-HEALTH-18", "TRAP-10")
@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        pytest.param([], INITIAL, id="registered_unchecked"),
        pytest.param([200], HEALTHY, id="registered_one_success"),
        pytest.param([503], INITIAL, id="registered_one_failure"),
        pytest.param([503, 200], HEALTHY, id="registered_failure_then_success"),
        pytest.param([503, 503], UNHEALTHY, id="registered_two_failures"),
        pytest.param([200, 503], HEALTHY, id="healthy_one_failure"),
        pytest.param([200, 503, 200, 503], HEALTHY, id="healthy_failures_not_in_a_row"),
        pytest.param([200, 503, None], UNHEALTHY, id="healthy_two_failures"),
        pytest.param([503, 503, 200, 200], UNHEALTHY, id="unhealthy_two_successes"),
        pytest.param([503, 503, 200, 200, 200], HEALTHY, id="unhealthy_three_successes"),
        pytest.param([503, 503, 200, 200, 503, 200, 200], UNHEALTHY, id="unhealthy_successes_not_in_a_row"),
    ],
)
def test_health_follows_the_thresholds(statuses: list[int | None], state: str) -> None:
    how = rules(healthy_threshold=3, unhealthy_threshold=2)
    target = answered(registered(how), statuses, how)
    assert tg.state(target, 10.0)[0] == state
    assert tg.node_state(target, "node-0", 10.0, how) == state


@pytest.mark.fidelity("ALB-HEALTH-4", "ALB-HEALTH-5", "ALB-HEALTH-6")
@pytest.mark.parametrize(
    ("status", "failure", "reason", "description"),
    [
        (503, "", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"),
        (None, "timeout", "Target.Timeout", "Request timed out"),
        (None, "connection", "Target.FailedHealthChecks", "Health checks failed"),
    ],
    ids=["wrong_code", "timeout", "connection"],
)
def test_unhealthy_target_says_why(status: int | None, failure: str, reason: str, description: str) -> None:
    how = rules()
    target = registered(how)
    for _ in range(3):
        target = tg.check_answered(target, HealthCheckAnswered("node-0", target.id, status, failure), 10.0, how)
    assert tg.state(target, 10.0) == (T.UNHEALTHY, reason, description)


def test_unhealthy_target_tells_its_latest_reason() -> None:
    how = rules()
    target = answered(registered(how), [503, 503, 500], how)
    assert tg.state(target, 10.0)[2] == "Health checks failed with these codes: [500]"


@pytest.mark.fidelity("ALB-HEALTH-1", "ALB-HEALTH-2")
def test_initial_target_says_whether_it_is_being_checked() -> None:
    target = registered(RULES)
    first_check_at = min(x.next_check_at for x in target.nodes.values())
    assert tg.state(target, first_check_at - 0.1)[1:] == (
        "Elb.RegistrationInProgress",
        "Target registration is in progress",
    )
    checking = ("Elb.InitialHealthChecking", "Initial health checks in progress")
    assert tg.state(target, first_check_at)[1:] == checking
    how = rules()
    once = answered(registered(how), [503], how)
    assert tg.state(once, 0.0)[1:] == checking


@pytest.mark.fidelity("ALB-HEALTH-19", "TRAP-15")
def test_state_of_several_nodes_is_healthy_only_when_all_agree() -> None:
    target = registered(RULES)
    one = answered(target, [200], RULES, "node-0")
    both = answered(one, [200], RULES, "node-1")
    split = answered(both, [503, 503], RULES, "node-1")
    assert [tg.state(x, 10.0)[0] for x in (target, one, both, split)] == [INITIAL, INITIAL, HEALTHY, UNHEALTHY]
    assert tg.node_state(split, "node-0", 10.0, RULES) == HEALTHY


@pytest.mark.fidelity("ALB-HEALTH-19", "ALB-HEALTH-21")
def test_nodes_check_in_phases_of_their_own() -> None:
    first = sorted(x.next_check_at for x in registered(rules(nodes=3)).nodes.values())
    assert len(set(first)) == 3
    timing = Timing()
    assert timing.registration_s <= first[0] < first[-1] < timing.registration_s + timing.first_check_spread_s


@pytest.mark.fidelity("ALB-HEALTH-22", source="ALB-UG/target-group-health-checks", mark="doc")
def test_check_sent_late_keeps_the_phase_and_missed_ones_are_not_made_up_for() -> None:
    how = rules()
    target = registered(how)
    due = target.nodes["node-0"].next_check_at
    assert tg.check_sent(target, "node-0", due + 1.0, how).nodes["node-0"].next_check_at == due + 30.0
    assert tg.check_sent(target, "node-0", due + 95.0, how).nodes["node-0"].next_check_at == due + 125.0


@pytest.mark.fidelity("ALB-HEALTH-43", source="ALB-UG/target-group-health-checks", mark="doc")
@pytest.mark.parametrize(("statuses", "state"), [([200], HEALTHY), ([503, 503], UNHEALTHY)])
def test_state_between_two_checks_is_that_of_the_last(statuses: list[int | None], state: str) -> None:
    how = rules()
    target = answered(registered(how), statuses, how, at=10.0)
    target = tg.check_sent(target, "node-0", 31.6, how)
    assert [tg.state(target, at)[0] for at in (10.0, 31.6, 61.5)] == [state] * 3
    assert tg.node_state(target, "node-0", 61.5, how) == state


def test_answer_for_an_unknown_node_or_a_draining_target_changes_nothing() -> None:
    how = rules()
    target = answered(registered(how), [200], how)
    assert answered(target, [503, 503], how, node="node-7") is target
    draining = tg.deregister(target, 20.0, how)
    assert answered(draining, [503, 503], how) is draining


@pytest.mark.parametrize(("state", "to"), [(x, y) for x in T for y in T if y not in tg.TRANSITIONS[x]])
def test_state_absent_from_the_table_raises(state: tg.TargetState, to: tg.TargetState) -> None:
    with pytest.raises(IllegalTransition, match="target"):
        tg.move(state, to)


# --- draining -------------------------------------------------------------------------------------------------


@pytest.mark.fidelity("ECS-TASK-8", "ALB-HEALTH-11", "ALB-DRAIN-3", "ALB-DRAIN-4", "ALB-DRAIN-16", "TRAP-2")
@pytest.mark.parametrize("delay_s", [0.0, 5.0, 300.0, 3600.0])
def test_deregistered_target_drains_for_the_full_delay(delay_s: float) -> None:
    how = rules(delay_s=delay_s)
    target = tg.deregister(answered(registered(how), [200], how), 100.0, how)
    shown = 100.0 + Timing().drain_visible_s
    assert tg.state(target, shown - 0.1)[0] == HEALTHY
    assert tg.state(target, shown) == (
        T.DRAINING,
        "Target.DeregistrationInProgress",
        "Target deregistration is in progress",
    )
    assert tg.drained_at(target, how) == shown + delay_s
    assert tg.due_times(target, how) == [shown + delay_s]
    assert tg.deregister(target, 200.0, how) is target


@pytest.mark.fidelity("ALB-DRAIN-11", "TRAP-5")
def test_nodes_learn_of_a_drain_late_and_each_in_its_own_time() -> None:
    how = rules(nodes=3)
    target = registered(how)
    for node in how.node_ids:
        target = answered(target, [200], how, node)
    assert [tg.learned_at(target, x, how) for x in how.node_ids] == [None] * 3
    assert tg.view_times(target, how) == []
    target = tg.deregister(target, 100.0, how)
    learned = [at for x in how.node_ids if (at := tg.learned_at(target, x, how)) is not None]
    assert len(set(learned)) == 3
    assert all(9.5 <= at - 100.7 <= 14.5 for at in learned)
    assert tg.view_times(target, how) == [100.7, *learned]
    assert tg.node_state(target, "node-0", learned[0] - 0.1, how) == HEALTHY
    assert tg.node_state(target, "node-0", learned[0], how) == T.DRAINING


@pytest.mark.fidelity("ALB-DRAIN-2", "ALB-DRAIN-16")
@pytest.mark.parametrize(
    ("delay_s", "propagation_s", "jitter_s", "lag_s"),
    [
        pytest.param(5.0, 12.0, 0.0, 5.0, id="delay_shorter_than_propagation"),
        pytest.param(0.0, 12.0, 5.0, 0.0, id="delay_zero"),
        pytest.param(300.0, 0.0, 5.0, 0.0, id="propagation_zero_is_the_documented_ideal"),
        pytest.param(300.0, 12.0, 0.0, 12.0, id="no_jitter"),
    ],
)
def test_node_learns_at_the_end_of_the_delay_at_the_latest(
    delay_s: float, propagation_s: float, jitter_s: float, lag_s: float
) -> None:
    base = rules(delay_s=delay_s)
    how = replace(
        base, timing=replace(base.timing, drain_propagation_s=propagation_s, drain_propagation_jitter_s=jitter_s)
    )
    target = tg.deregister(registered(how), 100.0, how)
    learned = tg.learned_at(target, "node-0", how)
    assert learned == pytest.approx(100.7 + lag_s)


def test_jitter_larger_than_the_lag_never_makes_a_node_clairvoyant() -> None:
    base = rules(nodes=20)
    how = replace(base, timing=replace(base.timing, drain_propagation_s=0.1, drain_propagation_jitter_s=50.0))
    target = tg.deregister(registered(how), 100.0, how)
    learned = [at for x in how.node_ids if (at := tg.learned_at(target, x, how)) is not None]
    assert min(learned) == 100.7


# --- what a node is told --------------------------------------------------------------------------------------------


def told(how: tg.Rules, targets: dict[str, tg.Target], now: float = 10.0) -> dict[str, tuple[bool, bool]]:
    """target -> (new, sticky) as node-0 has it."""
    table = tg.node_table(targets, "node-0", now, how)
    return {x.id: (x.new, x.sticky) for x in table.targets}


def group(how: tg.Rules, **answers: list[int | None]) -> dict[str, tg.Target]:
    return {name: answered(registered(how, name), statuses, how) for name, statuses in answers.items()}


YES, NO = (True, True), (False, False)


@pytest.mark.fidelity("ALB-HEALTH-26", "ALB-HEALTH-28", "ALB-STICKY-14", "TRAP-18")
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param({"a": [200], "b": [200]}, {"a": YES, "b": YES}, id="all_healthy"),
        pytest.param({"a": [200], "b": []}, {"a": YES, "b": NO}, id="one_initial"),
        pytest.param({"a": [200], "b": [503, 503]}, {"a": YES, "b": NO}, id="one_unhealthy"),
        pytest.param({"a": [503, 503], "b": [503, 503]}, {"a": YES, "b": YES}, id="all_unhealthy_fails_open"),
        pytest.param({"a": [503, 503], "b": []}, {"a": YES, "b": NO}, id="initial_takes_no_part_in_fail_open"),
        pytest.param({}, {}, id="no_targets"),
    ],
)
def test_node_routes_to(answers: dict[str, list[int | None]], expected: dict[str, tuple[bool, bool]]) -> None:
    how = rules()
    assert told(how, group(how, **answers)) == expected


@pytest.mark.fidelity("ALB-HEALTH-29", source="API-ELB TargetGroupAttribute", mark="doc")
def test_fail_open_below_the_minimum_of_healthy_targets() -> None:
    how = rules()
    how = replace(how, settings=replace(how.settings, minimum_healthy_targets=2))
    assert told(how, group(how, a=[200], b=[503, 503])) == {"a": YES, "b": YES}
    assert told(how, group(how, a=[200], b=[200], c=[503, 503])) == {"a": YES, "b": YES, "c": NO}


@pytest.mark.fidelity("ALB-HEALTH-30", source="API-ELB TargetGroupAttribute", mark="doc")
@pytest.mark.parametrize(
    ("percent", "answers", "expected"),
    [
        pytest.param(50, {"a": [200], "b": [503, 503]}, {"a": YES, "b": NO}, id="half_is_enough_for_half"),
        pytest.param(51, {"a": [200], "b": [503, 503]}, {"a": YES, "b": YES}, id="half_is_less_than_51"),
        pytest.param(100, {"a": [200], "b": [200], "c": []}, {"a": YES, "b": YES, "c": NO}, id="initial_is_registered"),
        pytest.param(0, {"a": [200], "b": [503, 503]}, {"a": YES, "b": NO}, id="off"),
    ],
)
def test_fail_open_below_the_minimum_percentage_of_healthy_targets(
    percent: int, answers: dict[str, list[int | None]], expected: dict[str, tuple[bool, bool]]
) -> None:
    how = rules()
    how = replace(how, settings=replace(how.settings, minimum_healthy_targets_percent=percent))
    assert told(how, group(how, **answers)) == expected


def test_minimum_percentage_is_one_of_the_targets_that_do_not_drain() -> None:
    how = rules()
    how = replace(how, settings=replace(how.settings, minimum_healthy_targets_percent=50))
    targets = group(how, a=[200], b=[503, 503], c=[200], d=[200])
    for name in ("c", "d"):
        targets[name] = tg.deregister(targets[name], 100.0, how)
    assert told(how, targets, 130.0) == {"a": YES, "b": NO, "c": NO, "d": NO}


@pytest.mark.fidelity("ALB-DRAIN-7", "TRAP-4")
@pytest.mark.parametrize(("sticky", "expected"), [(False, NO), (True, (False, True))], ids=["documented", "what_if"])
def test_draining_target_gets_nothing_new_and_sticky_ones_by_setting(sticky: bool, expected: tuple[bool, bool]) -> None:
    how = rules(sticky=sticky)
    targets = group(how, a=[200], b=[200])
    targets["a"] = tg.deregister(targets["a"], 100.0, how)
    assert told(how, targets, 101.0) == {"a": YES, "b": YES}  # not learned yet
    assert told(how, targets, 130.0) == {"a": expected, "b": YES}


@pytest.mark.fidelity("ALB-HEALTH-32", source="ALB-UG/target-group-health-checks", mark="inferred")
def test_draining_target_takes_no_part_in_fail_open() -> None:
    how = rules()
    targets = group(how, a=[200], b=[503, 503])
    targets["a"] = tg.deregister(targets["a"], 100.0, how)
    assert told(how, targets, 130.0) == {"a": NO, "b": YES}
    targets["b"] = tg.deregister(targets["b"], 100.0, how)
    assert told(how, targets, 130.0) == {"a": NO, "b": NO}


@pytest.mark.fidelity("ALB-HEALTH-37", source="ALB-UG-now/edit-target-group-attributes", mark="doc")
def test_slow_start_age_counts_from_the_first_success_while_it_lasts() -> None:
    how = rules(slow_start_s=30.0)
    targets = group(how, a=[200], b=[])

    def ages(now: float) -> list[float | None]:
        return [x.slow_start_age_s for x in tg.node_table(targets, "node-0", now, how).targets]

    assert [ages(10.0), ages(25.0), ages(40.0)] == [[0.0, None], [15.0, None], [None, None]]


def test_slow_start_begins_anew_after_a_recovery() -> None:
    how = rules(slow_start_s=30.0, healthy_threshold=1, unhealthy_threshold=1)
    target = answered(registered(how), [200, 503], how, at=10.0)
    assert target.nodes["node-0"].healthy_since is None
    assert answered(target, [200], how, at=90.0).nodes["node-0"].healthy_since == 90.0


# --- other platforms -----------------------------------------------------------------------------------------


def test_a_frozen_instance_is_asked_no_more_once_it_was_ready() -> None:
    how = replace(rules(nodes=2), platform=PlatformSettings(routing=Routing.EXCLUSIVE))
    target = registered(how)
    assert set(tg.check_times(target, how)) == {"node-0", "node-1"}
    ready = answered(target, [503, 200], how)
    assert set(tg.check_times(ready, how)) == {"node-1"}
    assert tg.due_times(ready, how) == [ready.nodes["node-1"].next_check_at]
    assert set(tg.check_times(ready, rules(nodes=2))) == {"node-0", "node-1"}


def test_a_session_reaches_its_draining_instance_for_as_long_as_a_session_can_live() -> None:
    stays = PlatformSettings(routing=Routing.BY_SESSION_HEADER, session_lifetime_s=28_800.0)
    how = replace(rules(delay_s=300.0), platform=stays)
    target = tg.deregister(answered(registered(how), [200], how), 20.0, how)
    assert target.draining_at is not None
    assert tg.drained_at(target, how) == target.draining_at + 28_800.0
    (row,) = tg.node_table({target.id: target}, "node-0", 100.0, how).targets
    assert (row.state, row.new, row.sticky) == ("draining", False, True)
