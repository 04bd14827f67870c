"""How verdicts name things: one spelling for a task, a time and a count, in every sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def short(task_id: str) -> str:
    """A task as a reader compares it: the first eight of its 32 hex digits. Shorter ids stay whole."""
    return task_id if len(task_id) <= 12 else task_id[:8]


def at(t: float) -> str:
    """A point of the history."""
    return f"t={t:.1f} s"


def later(seconds: float) -> str:
    """A distance in words. Two writers' clocks may cross by milliseconds: that is the same moment."""
    return "at the same moment" if seconds < 0.05 else f"{seconds:.1f} s later"


def span(values: Sequence[float]) -> str:
    """`12.4`, or `12.4..13.1` where they differ; a rounded nothing has no sign."""
    low, high = (f"{round(value, 1) + 0.0:.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}..{high}"


def spread(values: Sequence[float]) -> str:
    """A span of seconds."""
    return f"{span(values)} s"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 session`, `3 sessions`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def some(names: Iterable[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`."""
    listed = list(names)
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
