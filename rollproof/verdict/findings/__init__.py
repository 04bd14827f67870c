"""What is worth knowing about a run, each finding claimed only where the records bear it out.

One file a theme; `FINDINGS` is the order in which a report prints them.
"""

from __future__ import annotations

from collections.abc import Callable

from rollproof.verdict.findings.activities import broken_activities
from rollproof.verdict.findings.balancer import alb_errors, fail_open, propagation_window
from rollproof.verdict.findings.cliff import cliff
from rollproof.verdict.findings.cookies import cookie_rotation, first_cookie_only, no_affinity
from rollproof.verdict.findings.dashboard import green_dashboard
from rollproof.verdict.findings.outcomes import redis_restarted, rolled_back, unacknowledged, wrong_state
from rollproof.verdict.findings.platform import platform
from rollproof.verdict.findings.splits import atomic_failure, split_session
from rollproof.verdict.findings.story import Story
from rollproof.verdict.findings.tasks import slow_start
from rollproof.verdict.model import Finding

FINDINGS: tuple[Callable[[Story], Finding | None], ...] = (
    atomic_failure,
    wrong_state,
    broken_activities,
    green_dashboard,
    cliff,
    rolled_back,
    redis_restarted,
    slow_start,
    split_session,
    unacknowledged,
    alb_errors,
    fail_open,
    propagation_window,
    first_cookie_only,
    no_affinity,
    cookie_rotation,
    platform,
)


def findings_of(story: Story) -> tuple[Finding, ...]:
    """Those that the story bears out, in order."""
    return tuple(found for finding in FINDINGS if (found := finding(story)) is not None)
