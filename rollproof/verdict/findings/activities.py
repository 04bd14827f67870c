"""What sessions did besides calling tools, and can no longer do since the rollout."""

from __future__ import annotations

from rollproof.verdict.activities import broken_by_the_rollout, failures_text
from rollproof.verdict.findings.story import Story
from rollproof.verdict.model import Evidence, Finding


def broken_activities(story: Story) -> Finding | None:
    """Activities that worked, and failed once the disruption had begun."""
    broken = broken_by_the_rollout(story.activities)
    if not broken:
        return None
    return Finding(
        "broken-activities",
        "Activities that work failed in the rollout",
        f"Ok at least once, and failed once the rollout had begun: {failures_text(broken)}.",
        tuple(
            Evidence(first.t, "call", first.session, first.call_number, first.signature)
            for each in broken
            if (first := each.first_failure) is not None
        ),
    )
