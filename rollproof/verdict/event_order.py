"""Which order of two service events is guaranteed, and which is a race of independent clocks.

One event follows from another: targets are registered because their tasks were started, deregistered because they
were stopped, drained because they were deregistered; a deployment completes when those are gone, and the service
is steady after that. Such a pair never swaps (ANCHORS), and an event's offset is counted from the one it follows
from, or from the disruption where it follows from none.

All else runs on clocks of its own: the scheduler's tick, each target's health checks, each server's own start and
end. Two such events may come in either order, as long as each comes where it would have come anyway: a swap is a
race while the two have moved against each other by no more than a tick and what the machine may take.

In how many passes something happens, and which of two tasks comes first in one pass, is never an order: events of
the same words are one Beat (run_story). Repeats of a Beat are compared by the first and the last of them, and by
the first alone where a failing deployment starts tasks over and over. A process that exits at its start may or may
not live until the pass that registers it, so that all that follows from registering it is chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rollproof.verdict.comparison_model import Difference, DifferenceKind
from rollproof.verdict.run_story import Beat, RunStory
from rollproof.verdict.steps import APPLICATION_START_S, REACTION_S

STARTED, STOPPED = "has started tasks", "has stopped running tasks"
REGISTERED, DEREGISTERED = "registered targets", "deregistered targets"
DRAINING, STEADY = "has begun draining connections", "has reached a steady state"
UNHEALTHY, CHECKS_FAILED = "is unhealthy in", "failed container health checks"
FAILED, ROLLING_BACK, COMPLETED = "deployment failed", "rolling back to", "deployment completed"

ANCHORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (STARTED, (STOPPED,)),
    (DEREGISTERED, (STOPPED,)),
    (REGISTERED, (STARTED,)),
    (STOPPED, (UNHEALTHY, CHECKS_FAILED, REGISTERED)),
    (DRAINING, (DEREGISTERED,)),
    (UNHEALTHY, (REGISTERED,)),
    (CHECKS_FAILED, (REGISTERED,)),
    (FAILED, (UNHEALTHY, CHECKS_FAILED, STARTED)),
    (ROLLING_BACK, (FAILED,)),
    (COMPLETED, (ROLLING_BACK, DRAINING, REGISTERED)),
    (STEADY, (COMPLETED, REGISTERED)),
)
"""What an event says -> what the one it follows from says, the nearest first; one that comes later is none."""

WAITS_FOR_A_SERVER = {
    STARTED: (STOPPED,),
    STOPPED: (REGISTERED,),
    STEADY: (REGISTERED, ""),
    FAILED: (UNHEALTHY, CHECKS_FAILED, STARTED, ""),
    COMPLETED: (ROLLING_BACK, DRAINING, REGISTERED, ""),
}
"""Between these and what they follow from ("": the disruption) a server has to come up, to fail or to go, in its own
time. All others the scheduler says alone: a failed check counts after the grace period, however soon it failed."""


@dataclass(frozen=True)
class Pace:
    """What two runs may differ by, in AWS seconds: the slower machine and the longer tick of the two."""

    tick_s: float
    check_interval_s: float
    speed: float

    @property
    def reaction_s(self) -> float:
        """One tick, and the machine's own reaction."""
        return self.tick_s + REACTION_S * self.speed

    @property
    def server_s(self) -> float:
        """As `reaction_s`, where a server comes up or goes: its own time, and one check that it just met or missed."""
        return self.reaction_s + APPLICATION_START_S * self.speed + self.check_interval_s

    def of(self, beat: Beat, anchor: Beat | None) -> float:
        """Between a service event and the one that it follows from."""
        says, after = said_by(beat), said_by(anchor) if anchor is not None else ""
        waits = not says or after in WAITS_FOR_A_SERVER.get(says, ())
        return self.server_s if waits else self.reaction_s


def said_by(beat: Beat) -> str:
    """Which of the events of ANCHORS it is; empty for any other."""
    text = f" {beat.text}"  # with the blank, "registered" is no part of "deregistered"
    return next((words for words, _ in ANCHORS if f" {words}" in text), "")


def anchor_of(beat: Beat, story: RunStory) -> Beat | None:
    """The event that `beat` follows from in this run; None: the disruption itself."""
    earlier = [other for other in story.beats if other.t[0] <= beat.t[0] and other is not beat]
    for wanted in dict(ANCHORS).get(said_by(beat), ()):
        for other in earlier:
            if said_by(other) == wanted:
                return other
    return None


def is_chance(beat: Beat, a: RunStory, b: RunStory) -> bool:
    """Part of what happens only to a task that lived long enough, where both runs' tasks exit at their start."""
    if not (a.exits_at_start and b.exits_at_start):
        return False
    says = said_by(beat)
    return says in (REGISTERED, DEREGISTERED) or (says in (STOPPED, DRAINING) and "new " in beat.text)


def order_differences(a: RunStory, b: RunStory, speeds: tuple[float, float], pace: Pace) -> Iterator[Difference]:
    """Events that only one run has, that name another number of tasks, or that come in another order."""
    for first, second, where in ((a, b, "A"), (b, a, "B")):
        for beat in first.beats:
            if second.beat(beat.text) is None and not is_chance(beat, a, b):
                at = (beat.t[0], None) if where == "A" else (None, beat.t[0])
                yield Difference(DifferenceKind.EVENTS, f'only in {where}: "{beat.text}"', *at)
    has_failed = a.has_failed or b.has_failed
    shared = [(x, y) for x in a.beats if (y := b.beat(x.text)) is not None and not is_chance(x, a, b)]
    for x, y in shared:
        if x.count != y.count and not has_failed:
            text = f'"{x.text}" names {x.count} in A, {y.count} in B'
            yield Difference(DifferenceKind.EVENTS, text, x.t[-1], y.t[-1])
    swaps = [swap for which in ((0,) if has_failed else (0, -1)) for swap in _swaps(shared, a, which, speeds, pace)]
    yield from dict.fromkeys(swaps)  # an event without repeats is its own first and last


def _swaps(
    shared: list[tuple[Beat, Beat]], a: RunStory, which: int, speeds: tuple[float, float], pace: Pace
) -> Iterator[Difference]:
    """`which`: 0 compares the events' first, -1 their last appearances. One difference an event, the nearest swap."""
    ordered = sorted(shared, key=lambda pair: pair[0].t[which])
    for number, (x, y) in enumerate(ordered):
        anchor = anchor_of(x, a)
        for before, other in reversed(ordered[:number]):
            gap_a, gap_b = (x.t[which] - before.t[which]) * speeds[0], (other.t[which] - y.t[which]) * speeds[1]
            allowed = max(pace.of(x, anchor), pace.of(before, anchor_of(before, a)))
            if gap_a > 0 and gap_b > 0 and (before is anchor or gap_a + gap_b > allowed):
                text = f'"{x.text}" comes {gap_a:.1f} AWS s after "{before.text}" in A, {gap_b:.1f} before it in B'
                yield Difference(DifferenceKind.EVENTS, text, x.t[which], y.t[which])
                break
