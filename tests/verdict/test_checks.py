"""The safety checks: what breaks them, what does not, and what gives them no occasion."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import Check, Outcome, judge
from tests.verdict.stories import ANNA, BERT, CARL, DORA, T0, TARGETS, Tale, survived, without

SIGTERM, REQUEST, SIGKILL = "sigterm-after-drain", "no-request-after-drain", "sigkill-after-stop-timeout"


def check(tale: Tale, identifier: str) -> Check:
    return next(check for check in judge(tale.records).checks if check.id == identifier)


def rollout(settings: dict[str, Any] | None = None, **moved: float) -> Tale:
    tale = Tale().settings(**(settings or {})).warmed_up().triggered().started(CARL, DORA)
    return tale.drained(ANNA, BERT, **moved).completed()


def test_a_rollout_keeps_all_rules_that_it_could_break() -> None:
    outcomes = {c.id: c.outcome for c in judge(survived().records).checks}
    assert outcomes == {SIGTERM: Outcome.PASS, REQUEST: Outcome.PASS, SIGKILL: Outcome.UNKNOWN}


@pytest.mark.fidelity("ECS-TASK-6", source="ECS-DG/update-service", mark="doc")
@pytest.mark.parametrize(
    ("sigterm", "outcome"),
    [(94.6, Outcome.FAIL), (122.9, Outcome.FAIL), (124.45, Outcome.PASS), (124.5, Outcome.PASS), (170.0, Outcome.PASS)],
)
def test_sigterm_waits_for_the_full_delay(sigterm: float, outcome: Outcome) -> None:
    assert check(rollout(sigterm=sigterm), SIGTERM).outcome is outcome


def test_a_delay_cut_short_is_seen_though_the_target_says_unused() -> None:
    """The records agree with each other, and not with the setting of 30 s."""
    found = check(rollout(unused=104.5, sigterm=105.0), SIGTERM)
    assert found.outcome is Outcome.FAIL
    assert found.text == ("task a1a1a1a1 was sent SIGTERM 10.5 s after draining began, 18.1 s too early (and 1 more)")
    assert [evidence.note for evidence in found.evidence] == [ANNA, BERT]


def test_sigterm_without_any_draining_is_a_breach() -> None:
    tale = rollout()
    tale.records = without(tale.records, "target", "node")
    assert check(tale, SIGTERM).outcome is Outcome.UNKNOWN  # no target was ever healthy: nothing to drain
    for task in (ANNA, BERT):
        tale.target(task, 1.0, "healthy")
    assert "though its target never drained" in check(tale, SIGTERM).text


def test_stop_task_may_skip_the_drain_only_where_the_setting_says_so() -> None:
    tale = Tale().settings().warmed_up().add("fault", 30.0, name="stop-task", target=ANNA)
    tale.task(ANNA, 30.0, "STOPPING", "STOPPED", signal="SIGTERM", stop_code="UserInitiated")
    assert check(tale, SIGTERM).outcome is Outcome.FAIL
    tale.add("setting", 0.0, name="behaviour.stop_task_drains", value=False)
    assert check(tale, SIGTERM).outcome is Outcome.UNKNOWN


def test_without_the_setting_the_records_own_delay_counts() -> None:
    tale = rollout(sigterm=120.0)
    tale.records = without(tale.records, "setting")
    assert "4.5 s too early" in check(tale, SIGTERM).text


def test_taking_the_stage_down_breaks_no_rule() -> None:
    tale = survived()
    tale.task(CARL, 200.0, "STOPPING", "STOPPED", signal="SIGTERM").task(CARL, 200.1, "STOPPING", signal="SIGKILL")
    assert check(tale, SIGTERM).outcome is Outcome.PASS


@pytest.mark.fidelity("ALB-DRAIN-11", source="LBC#2366; LBC#905; LBC#1064; LBC#1719; LBC#2106", mark="observed")
@pytest.mark.parametrize(
    ("t", "outcome"),
    [
        (T0 + 95.0, Outcome.PASS),  # a node that has not learned yet
        (T0 + 108.05, Outcome.PASS),  # the clock's tolerance
        (T0 + 108.5, Outcome.FAIL),
        (T0 + 140.0, Outcome.FAIL),
    ],
)
def test_requests_stop_when_every_node_has_learned(t: float, outcome: Outcome) -> None:
    assert check(rollout().request(ANNA, t + 0.1), REQUEST).outcome is outcome


def test_a_stream_that_ends_late_arrived_early() -> None:
    tale = rollout().request(CARL, 150.0)
    tale.records[-1].update(target=TARGETS[ANNA], at="2026-11-20T10:02:30.000000Z")
    tale.records[-1]["request_creation_time"] = "2026-11-20T10:01:30.000000Z"  # 60 s before
    assert check(tale, REQUEST).outcome is Outcome.PASS


def test_a_port_that_is_handed_out_again_is_another_target() -> None:
    tale = rollout().request(ANNA, 190.1)
    eve = "e5" * 16
    tale.add("task", 185.0, task_id=eve, known="ACTIVATING", desired="RUNNING", address=TARGETS[ANNA])
    assert check(tale, REQUEST).outcome is Outcome.PASS


def test_with_sticky_overrides_drain_requests_may_come_until_the_delay_ends() -> None:
    override = {"behaviour__sticky_overrides_drain": True}
    assert check(rollout(override).request(ANNA, T0 + 120.0), REQUEST).outcome is Outcome.PASS
    assert check(rollout(override).request(ANNA, T0 + 126.0), REQUEST).outcome is Outcome.FAIL


@pytest.mark.fidelity("ECS-TASK-17", source="O2", mark="observed")
def test_a_crashed_task_is_chosen_until_every_node_has_learned() -> None:
    tale = rollout(exited=60.0, stopped=76.0)
    assert check(tale.request(ANNA, T0 + 100.0, 502), REQUEST).outcome is Outcome.PASS
    assert check(tale.request(ANNA, T0 + 110.0, 502), REQUEST).outcome is Outcome.FAIL


def test_a_node_that_never_learned_gives_no_moment_to_check_from() -> None:
    tale = rollout().request(ANNA, T0 + 120.0)
    tale.records = [r for r in tale.records if r.get("node") != "node-1"]
    assert check(tale, REQUEST).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("waited", "outcome"), [(12.0, Outcome.FAIL), (30.0, Outcome.PASS), (31.0, Outcome.PASS)])
def test_sigkill_waits_for_the_stop_timeout(waited: float, outcome: Outcome) -> None:
    tale = rollout(exited=131.0 + waited).task(ANNA, T0 + 130.0 + waited, "STOPPING", "STOPPED", signal="SIGKILL")
    assert check(tale, SIGKILL).outcome is outcome
    tale.records = [r for r in tale.records if r.get("name") != "task_definition.stop_timeout_s"]
    assert check(tale, SIGKILL).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("routing", "outcome"), [("cookies", Outcome.FAIL), ("by_session_header", Outcome.PASS)])
def test_a_session_may_reach_its_draining_instance_only_where_sessions_stay(routing: str, outcome: Outcome) -> None:
    tale = rollout({"platform__routing": routing})
    tale.request(ANNA, tale.when("node-1") + 4.0)
    assert check(tale, REQUEST).outcome is outcome
