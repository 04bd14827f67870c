"""Which reading of a draining target fits a published experiment: its four runs and a follow-up, played both ways.

The tables of docs/experiment.md are made here, and compared; ROLLPROOF_GOLDEN=write writes them down anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from rollproof.core.settings import Stickiness
from rollproof.core.timing import Timing
from rollproof.prediction.predict import predict_rollout
from rollproof.verdict.waves import Range
from tests.core.play import settings
from tests.scenarios.experiment import (
    CALLS,
    FOLLOW_UP,
    FOLLOW_UP_CALLS,
    FOLLOW_UP_GAP_S,
    GAP_S,
    RUN_4_ANSWERED,
    RUNS,
    PublishedRun,
    Replayed,
    replay,
    rollout_of,
    trigger_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "experiment.md"
BEGIN, END = "<!-- made by tests/scenarios/test_published_experiment.py -->\n", "<!-- end -->\n"
LONG_ENOUGH = 110  # calls, so that every reading comes to its failure
READINGS = (False, True)  # sticky_overrides_drain
BY_NAME = {run.name: run for run in RUNS}
AWS = Timing()
NO_BAKE = replace(AWS, healthy_bake_s=0.0)
SLOW_STARTS = {"2": replace(AWS, pull_stop_s=110.0), "3": replace(AWS, pull_stop_s=80.0)}
SHORT_DELAYS = {"2": 120.0, "3": 100.0}


@cache
def predicted(name: str, overrides: bool, timing: Timing = AWS, delay_s: float | None = None) -> Range:
    run = BY_NAME[name]
    run = run if delay_s is None else replace(run, delay_s=delay_s)
    prediction = predict_rollout(rollout_of(run, overrides=overrides), timing)
    span = prediction.span(prediction.moves_with)
    assert span is not None
    return span


@cache
def played(name: str, overrides: bool, calls: int = LONG_ENOUGH) -> Replayed:
    run = BY_NAME[name]
    return replay(rollout_of(run, overrides=overrides), trigger_of(run), calls=calls)


@cache
def follow_up(overrides: bool, delay_s: float = 300.0) -> Replayed:
    rollout = settings(delay_s=delay_s, stickiness=Stickiness(enabled=True), sticky_overrides_drain=overrides)
    return replay(rollout, 20.0, calls=FOLLOW_UP_CALLS, gap_s=FOLLOW_UP_GAP_S, is_stateless=True)


def off_by(run: PublishedRun, span: Range) -> float:
    """Seconds by which the published failure lies before (less than 0) or after the range; 0: inside.

    A move shows with the client's next request, up to one gap later.
    """
    assert run.after_s is not None
    if run.after_s + run.blur_s < span[0]:
        return run.after_s + run.blur_s - span[0]
    return max(0.0, run.after_s - run.blur_s - span[1] - GAP_S)


# -- what holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", READINGS)
@pytest.mark.parametrize("name", BY_NAME)
def test_each_reading_fails_when_it_is_predicted_to(name: str, overrides: bool) -> None:
    """At a read or a write, one task before it, and no call ever answered again: as published."""
    result, (low, high) = played(name, overrides), predicted(name, overrides)
    assert result.failed_after_s is not None
    assert low <= result.failed_after_s <= high + GAP_S
    assert len(result.tasks) == 1
    assert result.count(200) + result.count(404) == 2 * LONG_ENOUGH


def test_no_reading_fits_all_runs() -> None:
    """Run 1 is too early for both, the others too late for one and too early for the other."""
    off = {(run.name, reading): off_by(run, predicted(run.name, reading)) for run in RUNS[:3] for reading in READINGS}
    assert {key for key, seconds in off.items() if seconds == 0} == set()
    assert all(abs(off[run.name, False]) < abs(off[run.name, True]) for run in RUNS[:3])
    assert off["1", True] < -300
    assert off["3", False] > 0 > off["3", True]


def test_a_client_of_one_call_in_five_seconds_cannot_have_been_met_by_the_deployment() -> None:
    """Then call 39 of run 3 would have come before the 210 s after the trigger were over: a call takes two gaps."""
    run = BY_NAME["3"]
    assert run.after_s is not None
    assert run.failed_call * GAP_S < run.after_s < run.failed_at


def test_run_1_fits_the_documented_reading_without_the_40_s_of_health() -> None:
    assert off_by(BY_NAME["1"], predicted("1", False, NO_BAKE)) == 0
    assert off_by(BY_NAME["1"], predicted("1", True, NO_BAKE)) < -250


@pytest.mark.parametrize("name", SLOW_STARTS)
def test_runs_2_and_3_fit_the_documented_reading_where_new_tasks_start_slowly(name: str) -> None:
    assert off_by(BY_NAME[name], predicted(name, False, SLOW_STARTS[name])) == 0


@pytest.mark.parametrize("name", SHORT_DELAYS)
def test_runs_2_and_3_fit_the_other_reading_with_a_shorter_delay(name: str) -> None:
    assert off_by(BY_NAME[name], predicted(name, True, delay_s=SHORT_DELAYS[name])) == 0


@pytest.mark.parametrize("delay_s", [0.0, 30.0, 300.0, 900.0])
def test_no_delay_makes_run_1_fit_the_other_reading(delay_s: float) -> None:
    assert off_by(BY_NAME["1"], predicted("1", True, delay_s=delay_s)) < 0


def test_the_follow_up_crosses_in_time_only_as_documented() -> None:
    """With a delay of 300 s the other reading keeps the cookie on the old task to the last call."""
    documented, other = follow_up(False), follow_up(True)
    found = {"answered": documented.count(200), "not found": documented.count(404), "tasks": len(documented.tasks)}
    assert found == FOLLOW_UP
    assert len(other.tasks) == 1
    assert len(follow_up(True, 30.0).tasks) == 2


def test_in_fifty_calls_the_other_reading_would_have_lost_nothing() -> None:
    assert played("4", True, CALLS).count(404) == 0
    assert 0 < played("4", False, CALLS).count(404) < 2 * CALLS


# -- the page --------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_played() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    new = "\n".join(page()) + "\n"
    if os.environ.get("ROLLPROOF_GOLDEN") == "write":
        PAGE.write_text(before + BEGIN + new + END + after, encoding="utf-8")
        return
    assert old == new


def page() -> Iterator[str]:
    yield from _runs()
    yield ""
    yield from _counts()
    yield ""
    yield from _explanations()


def _runs() -> Iterator[str]:
    yield "| run | tasks, delay | published | documented: predicted; played | with `sticky_overrides_drain`: the same |"
    yield "|---|---|---|---|---|"
    for run in RUNS:
        delay = "changed; 300 s assumed" if run.delay_s is None else f"{run.delay_s:g} s"
        after = "trigger not published" if run.after_s is None else f"{run.after_s:g} s"
        cells = [_reading(run, overrides) for overrides in READINGS]
        yield f"| {run.name} | {run.tasks}, {delay} | call {run.failed_call}, {after} | {cells[0]} | {cells[1]} |"


def _reading(run: PublishedRun, overrides: bool) -> str:
    (low, high), result = predicted(run.name, overrides), played(run.name, overrides)
    assert result.first_failure is not None
    call = f"call {result.first_failure.call}{' (split)' if result.is_split else ''}"
    told = f"{low:.0f}..{high:.0f} s; {call}, {result.failed_after_s:.0f} s"
    return told if run.after_s is None else f"{told}: {_fit(off_by(run, (low, high)))}"


def _fit(off_s: float) -> str:
    """What is off is the published run, from the reading's range."""
    if off_s == 0:
        return "fits"
    return f"the published run is {abs(off_s):.0f} s too {'early' if off_s < 0 else 'late'}"


def _counts() -> Iterator[str]:
    yield "| | published | as documented | with `sticky_overrides_drain` |"
    yield "|---|---|---|---|"
    both = [played("4", overrides, CALLS) for overrides in READINGS]
    yield _row("run 4, 50 calls: requests answered", RUN_4_ANSWERED, *(each.count(200) for each in both))
    yield _row("run 4: Session not found", 2 * CALLS - RUN_4_ANSWERED, *(each.count(404) for each in both))
    yield _row("run 4: tasks that answered", 1, *(len(each.tasks) for each in both))
    both = [follow_up(overrides) for overrides in READINGS]
    yield _row("follow-up, 70 calls, stateless: answered", FOLLOW_UP["answered"], *(each.count(200) for each in both))
    yield _row("follow-up: Session not found", FOLLOW_UP["not found"], *(each.count(404) for each in both))
    yield _row("follow-up: tasks that answered", FOLLOW_UP["tasks"], *(len(each.tasks) for each in both))


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _explanations() -> Iterator[str]:
    yield "| what would explain it | run | predicted with it | |"
    yield "|---|---|---|---|"
    tried = [("1", "as documented, old tasks stopped without 40 s of health first", predicted("1", False, NO_BAKE))]
    for name, timing in SLOW_STARTS.items():
        why = f"as documented, new tasks that need {timing.pull_stop_s:g} s until registered, not 18"
        tried.append((name, why, predicted(name, False, timing)))
    for name, delay_s in SHORT_DELAYS.items():
        why = f"`sticky_overrides_drain`, and a delay of {delay_s:g} s in effect"
        tried.append((name, why, predicted(name, True, delay_s=delay_s)))
    tried.append(("1", "`sticky_overrides_drain`, no 40 s of health, and 300 s", predicted("1", True, NO_BAKE)))
    for name, why, span in tried:
        yield _row(why, name, f"{span[0]:.0f}..{span[1]:.0f} s", _fit(off_by(BY_NAME[name], span)))
