"""What a verdict consists of: plain frozen values that a report can print without deciding anything.

Three-valued throughout: a check that proved nothing is UNKNOWN, and the worst outcome wins
(FAIL over UNKNOWN over PASS). Points in time are `t` of the history, in seconds from the stage's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """Of a rehearsal, and of one safety check."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    FAIL = "fail"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """The process's exit code; 2 is kept for wrong usage."""
        return {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNKNOWN: 3}[self]


class SessionOutcome(StrEnum):
    """What became of one session."""

    SURVIVED = "survived"  # every call answered, state complete, nothing applied twice
    DEGRADED = "degraded"  # some calls failed, then it went on by itself with its state
    LOST = "lost"


class ActivityState(StrEnum):
    """What became of one kind of activity, e.g. elicitation."""

    OK = "ok"
    FAILED = "failed in the rollout"  # ok at least once, and then not: this fails the rehearsal
    UNSTEADY = "failed before the rollout"  # ok at least once; its failures came before anything was replaced
    DOES_NOT_WORK = "does not work"  # never ok: not the rollout's doing
    UNSUPPORTED = "unsupported"  # the server says that it does not offer it
    NOT_TRIED = "not tried"  # the server has no tool for it, or there was no time


class StepStatus(StrEnum):
    """One step of the reference timeline beside what was measured."""

    OK = "ok"
    EARLY = "early"
    LATE = "late"
    MISSING = "missing"
    NOT_NEEDED = "not needed"  # an optional step, e.g. SIGKILL of a task that left in time
    UNJUDGED = "unjudged"  # measured, but the history does not say what to expect


@dataclass(frozen=True)
class Evidence:
    """Where in the history a fact stands. `record` is the kind; find it by `t` and `session`."""

    t: float
    record: str
    session: str = ""
    call_number: int | None = None
    note: str = ""


@dataclass(frozen=True)
class FailedCall:
    """A call that was not answered as it should have been."""

    t: float
    session: str
    call_number: int | None
    tool: str
    signature: str
    task_id: str = ""


@dataclass(frozen=True)
class Move:
    """A session's next call was answered by another task. `reason` is empty where the history explains none."""

    t: float
    from_task: str
    to_task: str
    reason: str = ""


@dataclass(frozen=True)
class SessionVerdict:
    """One session's fate, and the counts that the published experiment's summary has, under its names."""

    session: str
    outcome: SessionOutcome
    calls: int
    failed_calls: int
    failing_for_s: float = 0.0  # from the first failed call to the next answered one (or the last failed one)
    first_failure: FailedCall | None = None
    cause: str = ""
    first_call_at: float = 0.0
    last_call_at: float = 0.0
    crossed: bool = False  # it called again after a task that had served it stopped being chosen
    moves: tuple[Move, ...] = ()
    state_defects: tuple[str, ...] = ()
    era: str = ""  # of the protocol that it speaks, where the history says
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ActivityVerdict:
    """One kind of activity in one era ("" where none is named). `outcomes`: how often each failure came.

    `first_failure` is the first from the disruption on, else the first at all.
    """

    activity: str
    era: str
    state: ActivityState
    tried: int = 0
    ok: int = 0
    unsupported: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    failed_in_rollout: int = 0
    first_failure: FailedCall | None = None
    cause: str = ""
    name: str = ""  # for people: the activity, and its era where the run had both

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.activity)


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about the run, with its measured facts in one paragraph."""

    id: str
    title: str
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Check:
    """A safety property of the rehearsal itself. UNKNOWN: the run gave no occasion to test it."""

    id: str
    title: str
    outcome: Outcome
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of the reference timeline: offsets in seconds after the step `after`.

    `measured_s` has one offset for a step of the deployment, one a task for a step of a task. `unit` is
    "AWS s" (real seconds times the run's speed) or "s" (the application's own time, never scaled).
    """

    name: str
    after: str
    status: StepStatus
    expected_min_s: float | None
    expected_max_s: float | None
    measured_s: tuple[float, ...]
    unit: str
    source: str
    t: tuple[float, ...] = ()


@dataclass(frozen=True)
class CliffEvent:
    """One edge of the cliff, in AWS seconds after the trigger: predicted range and measured points."""

    name: str
    predicted_min_s: float | None
    predicted_max_s: float | None
    measured_s: float | None


@dataclass(frozen=True)
class CliffEdge:
    """What sessions meet at the cliff, in AWS seconds after the trigger: predicted range, and all that was measured.

    A move shows with a session's next call, so up to one call later than it became due.
    """

    name: str
    predicted_min_s: float | None
    predicted_max_s: float | None
    measured_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cliff:
    """A replaced task as its sessions met it."""

    task_id: str
    target_id: str
    events: tuple[CliffEvent, ...]
    moved_after_draining_s: tuple[float, ...] = ()  # real s from draining to a session's first call elsewhere
    streams_cut_after_draining_s: tuple[float, ...] = ()  # real s from draining to a stream's end
    edges: tuple[CliffEdge, ...] = ()


@dataclass(frozen=True)
class Line:
    """One line of the history around a moment, in words."""

    t: float
    text: str
    is_break: bool = False


@dataclass(frozen=True)
class Knob:
    """A setting worth printing: a what-if, or a behaviour that AWS does not document."""

    name: str
    value: Any
    source: str = ""
    mark: str = ""  # observed | inferred; empty for a what-if
    template_value: Any = None


@dataclass(frozen=True)
class Replay:
    """How to have the same run again."""

    seed: Any = None
    command: str = ""


@dataclass(frozen=True)
class Verdict:
    """The whole of it. `why` is one sentence; `reasons` are all that counted, worst first."""

    outcome: Outcome
    why: str
    reasons: tuple[str, ...] = ()
    sessions: tuple[SessionVerdict, ...] = ()
    activities: tuple[ActivityVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    steps: tuple[Step, ...] = ()
    cliffs: tuple[Cliff, ...] = ()
    around_break: tuple[Line, ...] = ()
    what_ifs: tuple[Knob, ...] = ()
    behaviours: tuple[Knob, ...] = ()
    replay: Replay = Replay()
    summary: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    disruption: str = ""
    replaced_tasks: tuple[str, ...] = ()
    speed: float = 1.0
    unusable_records: int = 0  # lines of the history without a point in time

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code

    def of(self, outcome: SessionOutcome) -> tuple[SessionVerdict, ...]:
        return tuple(s for s in self.sessions if s.outcome is outcome)

    @property
    def counts_by_era(self) -> Mapping[str, Mapping[str, int]]:
        """Era -> outcome -> sessions, for the eras that the history names."""
        eras = sorted({session.era for session in self.sessions if session.era})
        return {
            era: {outcome.value: sum(s.era == era for s in self.of(outcome)) for outcome in SessionOutcome}
            for era in eras
        }
