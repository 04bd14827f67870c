"""The rollout beside the reference timeline: offsets, ranges, and the words early, late and missing."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict import ReferenceStep, Step, StepStatus, compare_timeline, judge, reference_steps
from rollproof.verdict.steps import REAL_SECONDS
from rollproof.verdict.waves import predict
from rollproof.verdict.words import span
from tests.verdict.stories import ANNA, BERT, CARL, DORA, SETTINGS, T0, Tale, crashed, rolled_back, without

ORDER = [
    "triggered",
    "tasks started",
    "registered",
    "target healthy",
    "task RUNNING",
    "stop decided",
    "deregistered",
    "target draining",
    "nodes stop routing",
    "target unused",
    "SIGTERM",
    "SIGKILL",
    "exited",
    "STOPPED",
    "completed",
    "steady state",
]


def told(steps: list[Step]) -> list[str]:
    return [f"{s.name}: {span(s.measured_s) if s.measured_s else '-'} {s.unit} {s.status}" for s in steps]


def by_name(tale: Tale) -> dict[str, Step]:
    return {step.name: step for step in compare_timeline(tale.records)}


def test_a_rollout_as_on_aws_is_ok_in_every_step() -> None:
    assert told(compare_timeline(Tale().replaced().records)) == [
        "triggered: - AWS s ok",
        "tasks started: 14.0 AWS s ok",
        "registered: 20.0 AWS s ok",
        "target healthy: 2.0 AWS s ok",
        "task RUNNING: 8.5 AWS s ok",
        "stop decided: 50.0 AWS s ok",
        "deregistered: 10.0 AWS s ok",
        "target draining: 0.5 AWS s ok",
        "nodes stop routing: 13.5 AWS s ok",
        "target unused: 30.0 AWS s ok",
        "SIGTERM: 5.5 AWS s ok",
        "SIGKILL: - s not needed",
        "exited: 1.0 s ok",
        "STOPPED: 16.0 AWS s ok",
        "completed: 19.0 AWS s ok",
        "steady state: 0.0 AWS s ok",
    ]


def test_a_fast_run_measures_the_same_aws_seconds_and_real_seconds_for_the_application() -> None:
    fast, slow = by_name(Tale(speed=10).replaced()), by_name(Tale().replaced())
    for name in ORDER:
        scale = 0.1 if slow[name].unit == REAL_SECONDS else 1.0
        assert fast[name].measured_s == pytest.approx([offset * scale for offset in slow[name].measured_s], abs=1e-6)
    assert [step.status for step in fast.values()] == [step.status for step in slow.values()]


def test_ranges_are_the_timings_used_with_one_tick_and_the_machine_on_top() -> None:
    ranges = {s.name: (s.expected_min_s, s.expected_max_s) for s in reference_steps({**SETTINGS, "speed": 1})}
    assert ranges["tasks started"] == pytest.approx((11.9, 23.0))  # 12, a tick of 10, a second to react
    assert ranges["stop decided"] == pytest.approx((48.4, 74.5))  # 8.5 + 40, two ticks, a server's start
    assert ranges["target unused"] == pytest.approx((28.5, 31.7))
    assert ranges["SIGKILL"] == pytest.approx((29.9, 41.0))


def test_a_node_never_learns_later_than_the_delay_ends() -> None:
    steps = reference_steps({**SETTINGS, "target_group.deregistration_delay_s": 5.0})
    obeyed = next(step for step in steps if step.name == "nodes stop routing")
    assert (obeyed.expected_min_s, obeyed.expected_max_s) == pytest.approx((4.9, 6.0))


def test_speed_turns_settings_used_into_aws_seconds() -> None:
    settings = {"timing.deployment_start_s": 1.2, "timing.scheduler_tick_s": 1.0, "speed": 10}
    started = next(step for step in reference_steps(settings) if step.name == "tasks started")
    assert (started.expected_min_s, started.expected_max_s) == pytest.approx((11.0, 32.0))


@pytest.mark.parametrize(
    ("moved", "name", "status"),
    [
        ({"sigterm": 100.0}, "SIGTERM", StepStatus.EARLY),
        ({"sigterm": 160.0}, "SIGTERM", StepStatus.LATE),
        ({"unused": 110.0}, "target unused", StepStatus.EARLY),
        ({"node-1": 120.0}, "nodes stop routing", StepStatus.LATE),
        ({"node-1": 90.0}, "nodes stop routing", StepStatus.MISSING),  # before the draining, so no answer to it
        ({"exited": 175.0, "stopped": 191.0}, "exited", StepStatus.LATE),
    ],
)
def test_a_step_out_of_its_range_is_named(moved: dict[str, float], name: str, status: StepStatus) -> None:
    tale = Tale().settings().warmed_up().triggered().started(CARL, DORA).drained(ANNA, BERT, **moved).completed()
    assert by_name(tale)[name].status is status


def test_steps_that_never_happened_are_missing() -> None:
    tale = Tale().settings().warmed_up().triggered().started(CARL, DORA)
    tale.task(ANNA, T0 + 84.0, "DEACTIVATING", "STOPPED")
    missing = [step.name for step in compare_timeline(tale.records) if step.status is StepStatus.MISSING]
    assert missing == [*ORDER[6:11], *ORDER[12:]]


def test_a_task_killed_at_its_stop_timeout_shows_the_kill() -> None:
    tale = (
        Tale().settings().warmed_up().triggered().started(CARL, DORA).drained(ANNA, BERT, exited=160.2, stopped=176.5)
    )
    tale.task(ANNA, T0 + 160.1, "STOPPING", "STOPPED", signal="SIGKILL")
    steps = by_name(tale)
    assert steps["SIGKILL"].status is StepStatus.OK
    assert steps["SIGKILL"].measured_s == pytest.approx([30.1])


def test_without_settings_a_step_is_measured_and_not_judged() -> None:
    steps = compare_timeline(without(Tale().replaced().records, "setting"))
    assert {step.status for step in steps[1:]} - {StepStatus.UNJUDGED, StepStatus.NOT_NEEDED, StepStatus.OK} == set()
    assert steps[1].status is StepStatus.UNJUDGED
    assert steps[1].measured_s == (14.0,)


def test_a_step_whose_anchor_is_missing_is_not_judged() -> None:
    """No event of draining: the target's draining has nothing to be measured from."""
    steps = {step.name: step for step in compare_timeline(without(Tale().replaced().records, "service_event"))}
    assert steps["target draining"].status is StepStatus.UNJUDGED
    assert steps["deregistered"].status is StepStatus.MISSING


def test_a_step_before_its_anchor_is_early() -> None:
    expected = [ReferenceStep("triggered", "steady state", 0.0, 1.0, "nowhere")]
    steps = compare_timeline(Tale().replaced().records, expected)
    assert [step.status for step in steps] == [StepStatus.EARLY]
    assert steps[0].measured_s == pytest.approx([-150.001])


def test_stop_first_has_its_own_order() -> None:
    """maximumPercent 100: the replacement starts when the drained task is gone. O4, O8."""
    steps = reference_steps({**SETTINGS, "service.maximum_percent": 100})
    names = [step.name for step in steps]
    assert names.index("STOPPED") < names.index("tasks started")
    after = {step.name: step.after for step in steps}
    assert (after["stop decided"], after["tasks started"]) == ("triggered", "STOPPED")


def test_a_second_batch_is_not_measured_from_the_trigger() -> None:
    tale = Tale().settings().warmed_up().triggered().started(CARL).drained(ANNA, BERT).completed()
    tale.task(DORA, T0 + 90.0, "PROVISIONING")
    assert by_name(tale)["tasks started"].measured_s == (14.0,)


@pytest.mark.parametrize("tale", [crashed(), rolled_back(), Tale()], ids=["crash", "rollback", "empty"])
def test_without_a_replacing_deployment_there_is_nothing_to_compare(tale: Tale) -> None:
    assert compare_timeline(tale.records) == []


def test_the_cliff_is_predicted_by_adding_up_the_steps() -> None:
    sums = predict(reference_steps({**SETTINGS, "speed": 1}))
    assert sums["target draining"] == pytest.approx((12.0 + 17.5 + 48.5, 22.0 + 27.5 + 68.5 + 10.0 + 1.4))
    assert sums["SIGKILL"][0] == pytest.approx(sums["SIGTERM"][0] + 30.0)


def test_the_prediction_is_aws_whatever_the_speed() -> None:
    """At speed 10 all timings are a tenth, and the stop timeout of 30 s is left whole."""
    settings: dict[str, Any] = SETTINGS
    used: dict[str, Any] = {
        name: value / 10 if name.endswith("_s") and "stop_timeout" not in name else value
        for name, value in settings.items()
    }
    slow, fast = predict(reference_steps(SETTINGS)), predict(reference_steps({**used, "speed": 10}))
    for name in set(slow) - {"SIGKILL", "exited", "STOPPED", "completed", "steady state"}:
        assert fast[name] == pytest.approx(slow[name])
    assert fast["SIGKILL"][0] == pytest.approx(slow["SIGKILL"][0])


def test_what_a_server_needs_to_stop_is_not_multiplied_by_the_speed() -> None:
    tale = Tale(speed=10).settings().warmed_up().triggered().started(CARL, DORA)
    tale.drained(ANNA, BERT, exited=150.0, stopped=166.0).completed()  # 2 real seconds after SIGTERM
    events = {event.name: event.measured_s for event in judge(tale.records).cliffs[0].events}
    assert events["SIGTERM"] == pytest.approx(130.0)
    assert events["exited"] == pytest.approx(132.0)


def test_a_chain_with_an_unknown_link_predicts_nothing_behind_it() -> None:
    steps = reference_steps({key: value for key, value in SETTINGS.items() if key != "timing.healthy_bake_s"})
    assert {"triggered", "tasks started", "registered"} <= predict(steps).keys()
    assert "target draining" not in predict(steps)
    assert predict([ReferenceStep("a", "nowhere", 0.0, 1.0, "")]) == {"triggered": (0.0, 0.0)}


def test_cliffs_have_prediction_and_measurement_side_by_side() -> None:
    cliffs = judge(Tale().replaced().talk("s1", 5.0, 125.0, ANNA).talk("s1", 130.0, 180.0, CARL).records).cliffs
    assert [(cliff.task_id, cliff.target_id) for cliff in cliffs] == [
        (ANNA, "127.0.0.1:4001"),
        (BERT, "127.0.0.1:4002"),
    ]
    draining = cliffs[0].events[0]
    assert draining.measured_s == pytest.approx(94.5)
    assert draining.predicted_min_s is not None
    assert draining.predicted_max_s is not None
    assert draining.predicted_min_s < 94.5 < draining.predicted_max_s
    assert cliffs[0].moved_after_draining_s == pytest.approx([15.5])
    assert cliffs[1].moved_after_draining_s == ()
