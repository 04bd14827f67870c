"""The drain as the cliff timer: when a replaced task's sessions had to move, predicted beside measured.

The prediction adds up the reference steps from the trigger on. Where a draining target is left alone (the
documented reading), sessions move when the nodes obey the draining; with `sticky_overrides_drain` they move
when the deregistration delay ends. Streams that were open stay on the old task and are cut at that end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollproof.verdict.model import Cliff, CliffEvent, SessionVerdict
from rollproof.verdict.records import History
from rollproof.verdict.rollout import SAME_MOMENT_S, Disruption, Rollout, TaskLife
from rollproof.verdict.streams import streams_of
from rollproof.verdict.timeline import (
    DRAINING,
    EXITED,
    OBEYED,
    SIGKILL,
    SIGTERM,
    TRIGGERED,
    UNUSED,
    ReferenceStep,
    reference_steps,
)


def cliffs_of(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> tuple[Cliff, ...]:
    """One a replaced task that drained before it went, in order of draining; a crash has no cliff to predict."""
    trigger = rollout.triggered_at
    if trigger is None or not rollout.is_on_ecs:
        return ()
    predicted = predict(reference_steps(history.settings))
    if rollout.disruption is not Disruption.DEPLOYMENT:
        predicted = {}
    drained = [
        (life, life.draining_at) for life in rollout.replaced if life.draining_at is not None and not life.has_crashed
    ]
    return tuple(
        Cliff(
            task_id=life.task_id,
            target_id=life.target_id,
            events=_events(life, trigger, history.speed, predicted),
            moved_after_draining_s=tuple(
                t - draining_at for t in moves_off(life.task_id, sessions) if t >= draining_at - SAME_MOMENT_S
            ),
            streams_cut_after_draining_s=tuple(t - draining_at for t in streams_cut(history, life)),
        )
        for life, draining_at in sorted(drained, key=lambda pair: pair[1])
    )


def predict(steps: Sequence[ReferenceStep]) -> Mapping[str, tuple[float, float]]:
    """Step -> range in AWS seconds after the trigger; steps whose chain has an unknown range are left out.

    What AWS would do, so without the rehearsing machine's slack: from the sum of the least to that of the most.
    A second of the application's own time is a second there too.
    """
    by_name = {step.name: step for step in steps}
    sums: dict[str, tuple[float, float]] = {TRIGGERED: (0.0, 0.0)}

    def total(name: str) -> tuple[float, float] | None:
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


def moves_off(task_id: str, sessions: Sequence[SessionVerdict]) -> list[float]:
    """When sessions last served by this task were first answered elsewhere, or first failed."""
    moved = []
    for session in sessions:
        times = [move.t for move in session.moves if move.from_task == task_id and move.reason]
        first = session.first_failure
        if first is not None and session.cause and first.task_id == task_id:
            times.append(first.t)
        if times:
            moved.append(min(times))
    return moved


def streams_cut(history: History, life: TaskLife) -> list[float]:
    """When streams open on this task ended because its delay did, or its process."""
    ends = [t for t in (life.unused_at, life.exited_at) if t is not None]
    ended = [stream.ended_at for stream in streams_of(history) if stream.task_id == life.task_id]
    return [t for t in ended if t is not None and ends and t >= min(ends) - SAME_MOMENT_S]


def _events(
    life: TaskLife, trigger: float, speed: float, predicted: Mapping[str, tuple[float, float]]
) -> tuple[CliffEvent, ...]:
    measured = {
        DRAINING: life.draining_at,
        OBEYED: life.obeyed_at,
        UNUSED: life.unused_at,
        SIGTERM: life.sigterm_at,
        SIGKILL: life.sigkill_at,
        EXITED: life.exited_at,
    }

    def aws_s(name: str, t: float) -> float:
        """No run scales what a server needs to stop: its real seconds after the signal are AWS's."""
        if name in (SIGKILL, EXITED) and life.sigterm_at is not None:
            return (life.sigterm_at - trigger) * speed + t - life.sigterm_at
        return (t - trigger) * speed

    return tuple(
        CliffEvent(name, low, high, None if t is None else aws_s(name, t))
        for name, t in measured.items()
        for low, high in (predicted.get(name, (None, None)),)
    )
