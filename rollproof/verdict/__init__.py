"""History -> findings -> verdict: pure functions over the records of a run. No clock, no I/O, no chance."""

from rollproof.verdict.judge import judge
from rollproof.verdict.model import (
    ActivityState,
    ActivityVerdict,
    Check,
    Cliff,
    CliffEvent,
    Evidence,
    FailedCall,
    Finding,
    Knob,
    Line,
    Move,
    Outcome,
    Replay,
    SessionOutcome,
    SessionVerdict,
    Step,
    StepStatus,
    Verdict,
)
from rollproof.verdict.reference import reference_steps
from rollproof.verdict.steps import ReferenceStep
from rollproof.verdict.timeline import compare_timeline

__all__ = [
    "ActivityState",
    "ActivityVerdict",
    "Check",
    "Cliff",
    "CliffEvent",
    "Evidence",
    "FailedCall",
    "Finding",
    "Knob",
    "Line",
    "Move",
    "Outcome",
    "ReferenceStep",
    "Replay",
    "SessionOutcome",
    "SessionVerdict",
    "Step",
    "StepStatus",
    "Verdict",
    "compare_timeline",
    "judge",
    "reference_steps",
]
