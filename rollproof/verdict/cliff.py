"""The drain as the cliff timer: when a replaced task's sessions had to move, predicted beside measured.

The prediction adds up the reference steps from the trigger on, through the waves before the task's own. Where a
draining target is left alone (the documented reading), sessions move when the nodes obey the draining; with
`sticky_overrides_drain` they move when the deregistration delay ends. Streams that were open stay on the old task and
are cut at that end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollproof.verdict.model import Cliff, CliffEdge, CliffEvent, SessionVerdict
from rollproof.verdict.records import History, as_flag
from rollproof.verdict.reference import reference_of
from rollproof.verdict.rollout import SAME_MOMENT_S, Disruption, Rollout, TaskLife
from rollproof.verdict.steps import DRAINING, EXITED, OBEYED, SIGKILL, SIGTERM, UNUSED
from rollproof.verdict.streams import streams_of
from rollproof.verdict.waves import Range, WaveKind, wave_ranges, waves_of

MOVED, CUT = "sessions move", "streams cut"


def cliffs_of(history: History, rollout: Rollout, sessions: Sequence[SessionVerdict]) -> tuple[Cliff, ...]:
    """One a replaced task that drained before it went, in order of draining; a crash has no cliff to predict."""
    trigger = rollout.triggered_at
    if trigger is None or not rollout.is_on_ecs:
        return ()
    predicted = _predicted(history, rollout)
    drained = [
        (life, life.draining_at) for life in rollout.replaced if life.draining_at is not None and not life.has_crashed
    ]
    return tuple(
        _cliff(history, life, trigger, predicted.get(life.task_id, {}), sessions)
        for life, _ in sorted(drained, key=lambda pair: pair[1])
    )


def leaves_with(settings: Mapping[str, Any]) -> str:
    """The step of an old task with which a session that a cookie binds to it moves."""
    stays = as_flag(settings.get("behaviour.sticky_overrides_drain"))
    return UNUSED if stays and as_flag(settings.get("target_group.stickiness.enabled", True)) else OBEYED


def _predicted(history: History, rollout: Rollout) -> Mapping[str, Mapping[str, Range]]:
    """Task -> its steps' ranges, in the wave in which it was stopped. Empty where no deployment replaced it."""
    if rollout.disruption is not Disruption.DEPLOYMENT or rollout.triggered_at is None:
        return {}
    reference = reference_of(history.settings)
    waves = waves_of(rollout.replaced, rollout.new, reference)
    return {
        life.task_id: ranges
        for wave, ranges in zip(waves, wave_ranges(waves, reference), strict=True)
        if wave.kind is WaveKind.STOPS
        for life in wave.lives
    }


def _cliff(
    history: History,
    life: TaskLife,
    trigger: float,
    predicted: Mapping[str, Range],
    sessions: Sequence[SessionVerdict],
) -> Cliff:
    draining_at = life.draining_at or 0.0
    moves = [t for t in moves_off(life.task_id, sessions) if t >= draining_at - SAME_MOMENT_S]
    cuts = streams_cut(history, life)
    edges = ((MOVED, leaves_with(history.settings), moves), (CUT, UNUSED, cuts))
    return Cliff(
        task_id=life.task_id,
        target_id=life.target_id,
        events=_events(life, trigger, history.speed, predicted),
        moved_after_draining_s=tuple(t - draining_at for t in moves),
        streams_cut_after_draining_s=tuple(t - draining_at for t in cuts),
        edges=tuple(
            CliffEdge(name, low, high, tuple((t - trigger) * history.speed for t in times))
            for name, step, times in edges
            for low, high in (predicted.get(step, (None, None)),)
        ),
    )


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


def _events(life: TaskLife, trigger: float, speed: float, predicted: Mapping[str, Range]) -> tuple[CliffEvent, ...]:
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
