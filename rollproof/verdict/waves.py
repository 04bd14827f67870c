"""A rollout in waves: which tasks start, or are stopped, in one pass, what each wave waits for, and when it may come.

Where the ceiling leaves no room for all new tasks at once, or the floor lets only some old ones go, ECS goes on in
batches (O8: 5 tasks at 50/100 go 2, 2, 1). Which batch waits for which is read off the tasks' lives, of a run or of a
simulated one; how long it may take is the reference's: the sum of the steps along the chain, from the trigger on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from rollproof.verdict.reference import Reference
from rollproof.verdict.rollout import SAME_MOMENT_S, TaskLife
from rollproof.verdict.steps import COMPLETED, EXITED, RUNNING, STOPPED, TRIGGERED, ReferenceStep

Range = tuple[float, float]
"""From the earliest to the latest, in AWS seconds after the trigger."""


class WaveKind(StrEnum):
    STARTS = "starts"
    STOPS = "stops"


@dataclass(frozen=True)
class Wave:
    """Tasks of one pass. It follows from the step `after` of the wave with the index `of`; None: the trigger's own.

    `after` is empty where the history does not show what it followed from.
    """

    kind: WaveKind
    lives: tuple[TaskLife, ...]
    at: float
    after: str
    of: int | None = None


def predict(steps: Sequence[ReferenceStep], begun: Mapping[str, Range] | None = None) -> Mapping[str, Range]:
    """Step -> range in AWS seconds after the trigger; steps whose chain has an unknown range are left out.

    What AWS would do, so without the rehearsing machine's slack: from the sum of the least to that of the most.
    A second of the application's own time is a second there too. `begun` are the ranges to count from.
    """
    by_name = {step.name: step for step in steps}
    sums: dict[str, Range] = dict(begun or {TRIGGERED: (0.0, 0.0)})

    def total(name: str) -> Range | None:
        step = by_name.get(name)
        if name in sums:
            return sums[name]
        if step is None or step.expected_min_s is None or step.expected_max_s is None:
            return None
        before = total(step.after)
        if before is None:
            return None
        least, most = step.expected_min_s + step.early_slack_s, step.expected_max_s - step.late_slack_s
        sums[name] = (before[0] + least, before[1] + most)
        return sums[name]

    for name in by_name:
        total(name)
    return sums


def waves_of(old: Sequence[TaskLife], new: Sequence[TaskLife], reference: Reference) -> tuple[Wave, ...]:
    """The waves in order of time. `old` are the replaced tasks, `new` those that came after the trigger."""
    leaving = [(life, life.leaving_at) for life in old]
    moves = [(life.first_seen_at, WaveKind.STARTS, life) for life in new]
    moves += [(at, WaveKind.STOPS, life) for life, at in leaving if at is not None]
    moves.sort(key=lambda move: (move[1], move[0]))
    batches = list[tuple[float, WaveKind, tuple[TaskLife, ...]]]()
    for kind, same in groupby(moves, key=lambda move: move[1]):
        for at, _, life in same:
            if batches and batches[-1][1] is kind and at - batches[-1][0] <= SAME_MOMENT_S:
                batches[-1] = (batches[-1][0], kind, (*batches[-1][2], life))
            else:
                batches.append((at, kind, (life,)))
    batches.sort(key=lambda batch: batch[0])
    return tuple(_placed(batches, number, reference) for number in range(len(batches)))


def wave_ranges(waves: Sequence[Wave], reference: Reference) -> tuple[Mapping[str, Range], ...]:
    """For each wave: step -> range. Empty where nothing says what it waits for."""
    found = list[Mapping[str, Range]]()
    for wave in waves:
        before = {TRIGGERED: (0.0, 0.0)} if wave.of is None else found[wave.of]
        steps = (reference.starts if wave.kind is WaveKind.STARTS else reference.stops).get(wave.after, ())
        begun = {wave.after: before[wave.after]} if wave.after in before else {}
        sums = predict(steps, begun) if begun else {}
        found.append({name: span for name, span in sums.items() if name != wave.after})
    return tuple(found)


def completed_range(waves: Sequence[Wave], ranges: Sequence[Mapping[str, Range]], reference: Reference) -> Range | None:
    """When the deployment completes: the last old task is gone, and the last new one has been healthy long enough."""
    ends = [
        predict((reference.ends[after],), {after: span[after]}).get(COMPLETED) if after in span else None
        for wave, span in zip(waves, ranges, strict=True)
        for after in (reference.ready if wave.kind is WaveKind.STARTS else EXITED,)
    ]
    return _latest(ends or [predict((reference.ends[TRIGGERED],)).get(COMPLETED)])


def stable_range(
    waves: Sequence[Wave], ranges: Sequence[Mapping[str, Range]], reference: Reference, tick_s: float
) -> Range | None:
    """When DescribeServices shows one deployment with all its tasks RUNNING, which is all that ServicesStable asks.

    Where ECS stops first that is before COMPLETED, which waits for the new tasks' 40 s of health too.
    """
    ends = list[Range | None]()
    for wave, span in zip(waves, ranges, strict=True):
        if wave.kind is WaveKind.STARTS:
            ends.append(span.get(RUNNING))
        else:
            gone = span.get(STOPPED)
            ends.append(None if gone is None else (gone[0], gone[1] + tick_s))
    return _latest(ends) if ends else completed_range(waves, ranges, reference)


def _latest(ends: Sequence[Range | None]) -> Range | None:
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    return max(low for low, _ in known), max(high for _, high in known)


def _placed(batches: Sequence[tuple[float, WaveKind, tuple[TaskLife, ...]]], number: int, reference: Reference) -> Wave:
    """New tasks wait for room, so for the last task that had STOPPED; old ones for the last new one to be ready."""
    at, kind, lives = batches[number]
    starts = kind is WaveKind.STARTS
    ends = [
        (end, index)
        for index, (_, other, members) in enumerate(batches[:number])
        if other is not kind
        for life in members
        if (end := life.stopped_at if starts else _ready_at(life, reference)) is not None and end <= at + SAME_MOMENT_S
    ]
    if ends:
        return Wave(kind, lives, at, STOPPED if starts else reference.ready, max(ends)[1])
    may_begin = reference.begins_with_starts if starts else reference.begins_with_stops
    return Wave(kind, lives, at, TRIGGERED if may_begin else "")


def _ready_at(life: TaskLife, reference: Reference) -> float | None:
    return life.running_at if reference.ready == RUNNING else life.registered_at
