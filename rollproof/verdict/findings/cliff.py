"""The deregistration delay as the timer of the session cliff."""

from __future__ import annotations

from collections.abc import Sequence

from rollproof.verdict.findings.story import Story
from rollproof.verdict.model import Cliff, CliffEvent, Evidence, Finding
from rollproof.verdict.steps import DRAINING, OBEYED, SIGKILL, SIGTERM, UNUSED
from rollproof.verdict.words import count, spread


def cliff(story: Story) -> Finding | None:
    """When the replaced tasks' sessions had to go, as predicted and as measured."""
    if not story.cliffs:
        return None
    measured = [
        f"{name} {told}" for name in (DRAINING, OBEYED, UNUSED, SIGTERM, SIGKILL) if (told := _told(story.cliffs, name))
    ]
    moves = [t for each in story.cliffs for t in each.moved_after_draining_s]
    cuts = [t for each in story.cliffs for t in each.streams_cut_after_draining_s]
    moved = (
        f" {count(len(moves), 'session')} left {spread(moves)} after draining began (real seconds)." if moves else ""
    )
    cut = f" {count(len(cuts), 'open stream')} ended {spread(cuts)} after it." if cuts else ""
    overrides = story.rollout.sticky_overrides_drain
    rule = (
        "With sticky_overrides_drain on, a valid cookie keeps a session on its draining task until the delay ends."
        if overrides
        else "A draining target gets no new request, cookie or not: sessions move when draining begins, plus what the"
        " nodes take to learn of it. The deregistration delay only keeps what is in flight."
    )
    return Finding(
        "cliff",
        "The drain is the cliff timer",
        f"{count(len(story.cliffs), 'replaced task')} drained, in AWS seconds after the trigger: {'; '.join(measured)}."
        f"{moved}{cut} {rule} No value of the delay removes the cliff; it sets when it comes.",
        tuple(Evidence(each_t, "target", note=each.target_id) for each, each_t in _draining(story)),
    )


def _told(cliffs: Sequence[Cliff], name: str) -> str:
    """`at 91.2 s (predicted 70.5..120.0 s)`, or "" where nothing was measured."""
    events = [event for each in cliffs for event in each.events if event.name == name]
    times = [event.measured_s for event in events if event.measured_s is not None]
    if not times:
        return ""
    return f"at {spread(times)} ({_predicted(events)})"


def _predicted(events: Sequence[CliffEvent]) -> str:
    """From the earliest of all tasks to the latest: tasks of different waves have ranges of their own."""
    lows = [event.predicted_min_s for event in events if event.predicted_min_s is not None]
    highs = [event.predicted_max_s for event in events if event.predicted_max_s is not None]
    return f"predicted {spread((min(lows), max(highs)))}" if lows and highs else "no prediction"


def _draining(story: Story) -> list[tuple[Cliff, float]]:
    lives = ((each, story.rollout.life(each.task_id)) for each in story.cliffs)
    return [(each, life.draining_at) for each, life in lives if life is not None and life.draining_at is not None]
