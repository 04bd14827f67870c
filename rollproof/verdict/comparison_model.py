"""What a comparison of two runs consists of: plain frozen values that a report can print without deciding anything.

The runs are A and B. Points in time are `t` of each run's own history; distances are AWS seconds, so that runs of
different speeds can stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollproof.verdict.model import Outcome, SessionOutcome
from rollproof.verdict.run_story import RunStory


class DifferenceKind(StrEnum):
    """The dimensions in which two runs are judged."""

    VERDICT = "verdict"
    EVENTS = "service events"
    TASKS = "task states"
    TARGETS = "target states"
    DEPLOYMENTS = "deployment states"
    OFFSETS = "offsets"


@dataclass(frozen=True)
class Difference:
    """In plain words; `t_a` and `t_b` say where to look, None where that run has nothing to look at."""

    kind: DifferenceKind
    text: str
    t_a: float | None = None
    t_b: float | None = None


@dataclass(frozen=True)
class Offset:
    """Seconds of one step after the step `after`, in both runs: the least and the most of all tasks.

    `unit` is "AWS s", or "s" for the application's own time. `difference_s` is the larger one of the two ends'.
    """

    name: str
    after: str
    a_s: tuple[float, float]
    b_s: tuple[float, float]
    allowed_s: float
    unit: str
    is_event: bool
    t_a: float
    t_b: float

    @property
    def difference_s(self) -> float:
        return max(abs(a - b) for a, b in zip(self.a_s, self.b_s, strict=True))

    @property
    def is_within(self) -> bool:
        return self.difference_s <= self.allowed_s


@dataclass(frozen=True)
class SettingPair:
    """A setting that the runs do not share, durations in AWS seconds; None where a run has none."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class RunFacts:
    """One of the two runs. `settings` are those that say which rehearsal it was."""

    outcome: Outcome
    why: str
    sessions: Mapping[SessionOutcome, int]
    signatures: tuple[str, ...]  # first failures of all sessions
    lost_signatures: tuple[str, ...]  # of those that were lost
    first_lost_at: float | None
    findings: tuple[str, ...]
    checks: Mapping[str, Outcome]
    settings: Mapping[str, Any]
    story: RunStory

    @property
    def lost(self) -> int:
        return self.sessions.get(SessionOutcome.LOST, 0)


@dataclass(frozen=True)
class Comparison:
    """`unproved` says why there was nothing to compare; empty where there was. `settings`: those that differ."""

    a: RunFacts
    b: RunFacts
    offsets: tuple[Offset, ...] = ()
    differences: tuple[Difference, ...] = ()
    unproved: str = ""
    settings: tuple[SettingPair, ...] = ()

    @property
    def is_same(self) -> bool:
        """The same verdict, the same story, every offset within what is allowed."""
        return not self.unproved and not self.differences

    @property
    def outcome(self) -> Outcome:
        if self.unproved:
            return Outcome.UNKNOWN
        return Outcome.FAIL if self.differences else Outcome.PASS

    @property
    def largest_offset(self) -> Offset | None:
        """The step whose two offsets, in AWS seconds, differ most."""
        scaled = [offset for offset in self.offsets if offset.unit != "s"]
        return max(scaled, key=lambda offset: offset.difference_s, default=None)

    def of(self, kind: DifferenceKind) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if difference.kind is kind)
