"""The prediction against the rules it predicts: every moment of a simulated rollout lies inside its range."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from rollproof.core.settings import ContainerHealthCheck, Settings
from rollproof.core.timing import Timing
from rollproof.prediction.alone import Containers, play_alone
from rollproof.prediction.predict import Moment, Prediction, facts_of, points, poll_after, predict_rollout
from rollproof.verdict.reference import reference_of
from rollproof.verdict.waves import WaveKind, completed_range, wave_ranges, waves_of
from tests.core.play import settings

ROUNDING_S = 1e-6
CHECK = ContainerHealthCheck(command=("CMD", "true"))

PERCENTS = st.sampled_from(
    [(100, 200), (100, 150), (100, 125), (50, 100), (0, 100), (75, 100), (50, 200), (0, 200), (75, 125), (34, 150)]
)
SETTINGS = st.builds(
    lambda percents, **more: settings(minimum=percents[0], maximum=percents[1], **more),
    PERCENTS,
    desired=st.integers(0, 6),
    delay_s=st.sampled_from([0.0, 3.0, 15.0, 30.0, 300.0, 900.0]),
    stop_timeout_s=st.floats(2.0, 120.0),
    nodes=st.integers(1, 4),
    has_load_balancer=st.sampled_from([True, True, True, False]),
    container_check=st.sampled_from([None, CHECK, replace(CHECK, interval_s=5.0), replace(CHECK, interval_s=120.0)]),
)
TIMINGS = st.builds(
    Timing,
    scheduler_tick_s=st.floats(2.0, 15.0),
    deployment_start_s=st.floats(0.5, 20.0),
    pull_start_s=st.just(5.0),
    pull_stop_s=st.floats(5.5, 90.0),
    healthy_bake_s=st.floats(0.0, 60.0),
    drain_propagation_s=st.floats(0.0, 30.0),
    deprovisioning_s=st.floats(1.0, 60.0),
)
CONTAINERS = st.builds(Containers, starts_after_s=st.floats(0.0, 8.0), exits_after_s=st.floats(0.0, 150.0))


def outside(prediction: Prediction, allowed_s: float = 0.0) -> list[Moment]:
    """Moments whose simulated points are not within their range, or that have none."""
    ends = [moment for moment in (prediction.completed, prediction.stable) if moment is not None]
    moments = [moment for wave in prediction.waves for moment in wave.moments] + ends
    return [moment for moment in moments if not is_inside(moment, allowed_s)]


def is_inside(moment: Moment, allowed_s: float) -> bool:
    if moment.earliest_s is None or moment.latest_s is None:
        return False
    low, high = moment.earliest_s - ROUNDING_S, moment.latest_s + ROUNDING_S + allowed_s
    return all(low <= t <= high for t in moment.simulated_s)


@budget(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETTINGS, TIMINGS, st.integers(1, 1000))
def test_every_simulated_moment_lies_in_its_range(rollout: Settings, timing: Timing, seed: int) -> None:
    prediction = predict_rollout(rollout, timing, seed=seed)
    assert outside(prediction) == []
    started = sum(wave.tasks for wave in prediction.waves if wave.kind is WaveKind.STARTS)
    stopped = sum(wave.tasks for wave in prediction.stops())
    if not prediction.is_stuck:
        assert started == stopped == rollout.service.desired_count


@budget(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETTINGS, TIMINGS, st.integers(1, 1000), CONTAINERS)
def test_other_containers_and_chances_change_neither_the_waves_nor_what_holds_of_them(
    rollout: Settings, timing: Timing, seed: int, containers: Containers
) -> None:
    """Where a rollout begins with both stops and starts, later waves are a race: what holds is the ranges."""
    prediction = predict_rollout(rollout, timing)
    reference = reference_of(facts_of(rollout, timing))
    played = play_alone(rollout, timing, seed=seed, containers=containers)
    waves = waves_of(played.old, played.new, reference)
    assert played.is_stuck == prediction.is_stuck
    if not (reference.begins_with_starts and reference.begins_with_stops):
        told = [(wave.kind, wave.tasks, wave.after, wave.follows) for wave in prediction.waves]
        assert [(w.kind, len(w.lives), w.after, 0 if w.of is None else w.of + 1) for w in waves] == told
    late_s = containers.starts_after_s * (len(waves) + 1) + ROUNDING_S
    ranges = wave_ranges(waves, reference)
    for wave, span in zip(waves, ranges, strict=True):
        signal = span.get("SIGTERM")
        for life in wave.lives if signal else ():
            assert life.sigterm_at is None or signal[0] - ROUNDING_S <= life.sigterm_at <= signal[1] + late_s
    ends = completed_range(waves, ranges, reference)
    if played.completed_at is not None:
        assert ends is not None
        assert ends[0] - ROUNDING_S <= played.completed_at <= ends[1] + late_s


@budget(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETTINGS, TIMINGS, st.integers(1, 1000))
def test_every_step_takes_what_the_reference_says_of_it(rollout: Settings, timing: Timing, seed: int) -> None:
    """Sums of ranges are wide; each link of the chain is held to its own."""
    reference = reference_of(facts_of(rollout, timing))
    played = play_alone(rollout, timing, seed=seed)
    waves = waves_of(played.old, played.new, reference)
    for wave in waves:
        steps = (reference.starts if wave.kind is WaveKind.STARTS else reference.stops)[wave.after]
        before = [0.0] if wave.of is None else [t for x in waves[wave.of].lives for t in points(x, wave.after, played)]
        for life in wave.lives:
            for step in steps:
                since = max(before if step is steps[0] else points(life, step.after, played))
                assert step.expected_min_s is not None
                assert step.expected_max_s is not None
                low, high = step.expected_min_s + step.early_slack_s, step.expected_max_s - step.late_slack_s
                for t in points(life, step.name, played):
                    assert low - ROUNDING_S <= t - since <= high + ROUNDING_S, (step, life)


def story(rollout: Settings) -> list[str]:
    return [
        f"{wave.kind} {wave.tasks} after {wave.after}" + (f" of {wave.follows}" if wave.follows else "")
        for wave in predict_rollout(rollout, Timing()).waves
    ]


def test_the_default_is_one_wave_of_starts_and_one_of_stops() -> None:
    assert story(settings()) == ["starts 2 after triggered", "stops 2 after registered of 1"]


def test_five_tasks_at_50_100_go_two_two_one() -> None:
    """O8."""
    assert story(settings(desired=5, minimum=50, maximum=100, delay_s=30.0)) == [
        "stops 2 after triggered",
        "starts 2 after STOPPED of 1",
        "stops 2 after registered of 2",
        "starts 2 after STOPPED of 3",
        "stops 1 after registered of 4",
        "starts 1 after STOPPED of 5",
    ]


def test_at_0_200_both_begin_at_once() -> None:
    """O3."""
    assert story(settings(minimum=0, maximum=200)) == ["starts 2 after triggered", "stops 2 after triggered"]


def test_without_room_for_all_the_second_half_waits_for_the_first_to_be_gone() -> None:
    assert story(settings(desired=4, minimum=100, maximum=150)) == [
        "starts 2 after triggered",
        "stops 2 after registered of 1",
        "starts 2 after STOPPED of 2",
        "stops 2 after registered of 3",
    ]


def test_the_defaults_in_numbers() -> None:
    """12 + 17.5 + 48.5 + 12 - 5 and 22 + 27.5 + 68.5 + 10 + 1.4 + 17; then the delay of 300 s."""
    prediction = predict_rollout(settings(), Timing())
    assert prediction.span("nodes stop routing") == pytest.approx((85.0, 146.4))
    assert prediction.span("target unused") == pytest.approx((376.6, 430.1))
    assert prediction.moves_with == "nodes stop routing"
    assert prediction.completed is not None
    assert prediction.completed.simulated_s == (422.0,)
    assert prediction.stable is not None
    assert prediction.stable.simulated_s == (435.0,)


def test_the_delay_moves_the_end_and_not_the_sessions() -> None:
    short, long = (predict_rollout(settings(delay_s=delay), Timing()) for delay in (30.0, 3600.0))
    assert short.span("nodes stop routing") == long.span("nodes stop routing")
    for name in ("target unused", "SIGTERM", "SIGKILL"):
        before, after = short.span(name), long.span(name)
        assert before is not None
        assert after == pytest.approx((before[0] + 3570.0, before[1] + 3570.0))


def test_with_sticky_overrides_drain_sessions_move_at_the_end_of_the_delay() -> None:
    rollout = settings(
        stickiness=replace(Settings().target_group.stickiness, enabled=True), sticky_overrides_drain=True
    )
    assert predict_rollout(rollout, Timing()).moves_with == "target unused"
    without_cookies = settings(sticky_overrides_drain=True)
    assert predict_rollout(without_cookies, Timing()).moves_with == "nodes stop routing"


@pytest.mark.parametrize("knobs", [{"desired": 1, "maximum": 150}, {"desired": 3, "minimum": 75, "maximum": 125}])
def test_a_stuck_deployment_has_no_end(knobs: dict[str, int]) -> None:
    prediction = predict_rollout(settings(**knobs), Timing())
    assert prediction.is_stuck
    assert (prediction.completed, prediction.stable) == (None, None)


def test_no_tasks_no_waves() -> None:
    prediction = predict_rollout(settings(desired=0), Timing())
    assert (prediction.is_stuck, prediction.waves) == (False, ())
    assert outside(prediction) == []


def test_all_old_tasks_gone_before_a_new_one_is_healthy_is_a_gap() -> None:
    prediction = predict_rollout(settings(minimum=0, maximum=100, delay_s=0.0), Timing())
    ((low, high),) = prediction.gaps_s
    assert low == pytest.approx(22.7)
    assert high == pytest.approx(74.5, abs=1.0)
    assert predict_rollout(settings(), Timing()).gaps_s == ()


def test_stop_first_is_stable_to_the_waiter_before_it_is_completed() -> None:
    """ServicesStable asks for RUNNING, the deployment for 40 s of it."""
    prediction = predict_rollout(settings(minimum=50, maximum=100, delay_s=30.0), Timing())
    assert prediction.completed is not None
    assert prediction.stable is not None
    assert prediction.stable.simulated_s[0] < prediction.completed.simulated_s[0]


@pytest.mark.parametrize(("at", "poll"), [(0.0, 0.0), (422.0, 435.0), (435.0, 435.0), (585.0, 585.0), (585.1, inf)])
def test_the_waiter_polls_every_15_s_and_gives_up(at: float, poll: float) -> None:
    assert poll_after(at) == poll


def test_a_server_that_ignores_sigterm_is_killed_at_its_stop_timeout() -> None:
    prediction = predict_rollout(settings(stop_timeout_s=20.0), Timing(), containers=Containers(exits_after_s=900.0))
    (wave,) = prediction.stops()
    killed, signalled = wave.moment("SIGKILL"), wave.moment("SIGTERM")
    assert killed is not None
    assert signalled is not None
    assert killed.simulated_s == tuple(t + 20.0 for t in signalled.simulated_s)
    assert outside(prediction) == []
