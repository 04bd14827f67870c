"""What a finding may look at: the facts, and what was made of them so far."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.verdict.model import ActivityVerdict, Cliff, Evidence, SessionOutcome, SessionVerdict
from rollproof.verdict.records import Call, History
from rollproof.verdict.rollout import Rollout

EVIDENCE_LIMIT = 20
"""References kept a finding; its text has the whole count."""


@dataclass(frozen=True)
class Story:
    history: History
    rollout: Rollout
    sessions: tuple[SessionVerdict, ...]
    cliffs: tuple[Cliff, ...] = ()
    activities: tuple[ActivityVerdict, ...] = ()

    @property
    def lost(self) -> tuple[SessionVerdict, ...]:
        return tuple(session for session in self.sessions if session.outcome is SessionOutcome.LOST)


def call_evidence(call: Call, note: str = "") -> Evidence:
    return Evidence(call.t, "call", call.session, call.number, note)
