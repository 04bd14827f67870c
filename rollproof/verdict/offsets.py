"""The distances between the steps of two runs: of each service event, and of each step of the reference timeline.

A step that waits for the scheduler lands anywhere within one tick, so the same step of two runs may lie one tick
apart, and the machine's own time beside it (event_order.Pace, and the slacks of steps.ReferenceStep).
"""

from __future__ import annotations

from collections.abc import Iterator

from rollproof.verdict.comparison_model import Offset
from rollproof.verdict.event_order import Pace, anchor_of, is_chance
from rollproof.verdict.model import Step, Verdict
from rollproof.verdict.records import History
from rollproof.verdict.run_story import RunStory
from rollproof.verdict.steps import APPLICATION_START_S, AWS_SECONDS, COMPLETED, DECIDED, EXITED, HEALTHY, REACTION_S

DISRUPTION = "disruption"
TICK_S, CHECK_INTERVAL_S = 10.0, 15.0  # AWS seconds, where a history does not say
SERVER_STEPS = (HEALTHY, DECIDED)  # before these a server has to come up


def pace_of(a: History, b: History) -> Pace:
    """The longer tick and check interval, in AWS seconds, and the higher speed of both."""

    def longest(name: str, default: float) -> float:
        known = [value * history.speed for history in (a, b) if (value := history.setting_s(name)) is not None]
        return max(known, default=default)

    return Pace(
        longest("timing.scheduler_tick_s", TICK_S),
        longest("target_group.health_check.interval_s", CHECK_INTERVAL_S),
        max(a.speed, b.speed),
    )


def event_offsets(a: RunStory, b: RunStory, speeds: tuple[float, float], pace: Pace) -> Iterator[Offset]:
    """Of each event that both runs have, and not by chance: its first appearance after what it follows from in A."""
    for beat in a.beats:
        other = b.beat(beat.text)
        if other is None or a.began_at is None or b.began_at is None or is_chance(beat, a, b):
            continue
        anchor = anchor_of(beat, a)
        told = b.beat(anchor.text) if anchor else None
        if anchor is None or told is None:
            anchor, from_a, from_b = None, a.began_at, b.began_at
        else:
            from_a, from_b = anchor.t[0], told.t[0]
        at_a, at_b = (beat.t[0] - from_a) * speeds[0], (other.t[0] - from_b) * speeds[1]
        yield Offset(
            name=beat.text,
            after=anchor.text if anchor else DISRUPTION,
            a_s=(at_a, at_a),
            b_s=(at_b, at_b),
            allowed_s=pace.of(beat, anchor),
            unit=AWS_SECONDS,
            is_event=True,
            t_a=beat.t[0],
            t_b=other.t[0],
        )


def step_offsets(a: Verdict, b: Verdict, pace: Pace) -> Iterator[Offset]:
    """Of each step of the reference timeline that both runs have measured, in the reference's order."""
    others = {step.name: step for step in b.steps}
    for step in a.steps:
        other = others.get(step.name)
        if other is not None and step.measured_s and other.measured_s:
            yield Offset(
                name=step.name,
                after=step.after,
                a_s=(min(step.measured_s), max(step.measured_s)),
                b_s=(min(other.measured_s), max(other.measured_s)),
                allowed_s=_allowed_s(step, pace),
                unit=step.unit,
                is_event=False,
                t_a=max(step.t),
                t_b=max(other.t),
            )


def _allowed_s(step: Step, pace: Pace) -> float:
    if step.unit != AWS_SECONDS:  # real seconds: what the server itself takes to go
        return pace.tick_s / pace.speed + REACTION_S + APPLICATION_START_S
    waits_for_a_server = step.name in SERVER_STEPS or (step.name == COMPLETED and step.after != EXITED)
    return pace.server_s if waits_for_a_server else pace.reaction_s
