"""`summary.json` and `--json`: the same facts as the terminal's, for programs.

The top level also carries the counts of the published experiment's summary under its own names
(http_status_counts, unique_task_ids, ..., session_complete), for the run; each session carries its own.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rollproof.verdict import SessionOutcome, SessionVerdict, Verdict


def summary_json(verdict: Verdict) -> dict[str, Any]:
    """A JSON-ready dict; key order is the order of the terminal report."""
    return {
        "verdict": verdict.outcome.value,
        "exit_code": verdict.exit_code,
        "why": verdict.why,
        "reasons": list(verdict.reasons),
        "disruption": verdict.disruption,
        "speed": verdict.speed,
        "unusable_records": verdict.unusable_records,
        "replaced_tasks": list(verdict.replaced_tasks),
        "session_counts": {outcome.value: len(verdict.of(outcome)) for outcome in SessionOutcome},
        "session_counts_by_era": {era: dict(counts) for era, counts in verdict.counts_by_era.items()},
        **verdict.summary,
        "around_break": [asdict(line) for line in verdict.around_break],
        "timeline": [asdict(step) for step in verdict.steps],
        "cliffs": [asdict(cliff) for cliff in verdict.cliffs],
        "sessions": [_session(session) for session in verdict.sessions],
        "activities": [asdict(activity) for activity in verdict.activities],
        "checks": [asdict(check) for check in verdict.checks],
        "findings": [asdict(finding) for finding in verdict.findings],
        "settings": dict(verdict.settings),
        "what_ifs": [asdict(knob) for knob in verdict.what_ifs],
        "behaviours": [asdict(knob) for knob in verdict.behaviours],
        "replay": asdict(verdict.replay),
    }


def _session(session: SessionVerdict) -> dict[str, Any]:
    facts = asdict(session)
    counts = facts.pop("summary")
    return {**facts, **counts}
