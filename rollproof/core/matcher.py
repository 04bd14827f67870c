"""The matcher of a target group's health check: which HTTP statuses count as healthy.

API-ELB Matcher.HttpCode: a status ("200"), several ("200,202") or a range ("200-299"), and mixtures of them,
for an Application Load Balancer between 200 and 499.
"""

from __future__ import annotations

import re

from rollproof.core.errors import UsageError

LOWEST_STATUS = 200
HIGHEST_STATUS = 499

_PART = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")


def parse_matcher(matcher: str) -> tuple[range, ...]:
    """The statuses of `matcher` as ranges, in its order. "200,204-206" is (range(200, 201), range(204, 207)).

    Raises UsageError when it is not a matcher, or reaches outside 200..499.
    """
    return tuple(_parse_part(part.strip(), matcher) for part in matcher.split(","))


def matcher_accepts(matcher: str, status: int) -> bool:
    """Whether an answer with `status` is a passed health check. Raises UsageError as `parse_matcher` does."""
    return any(status in statuses for statuses in parse_matcher(matcher))


def _parse_part(part: str, matcher: str) -> range:
    hint = 'write a status "200", a list "200,202" or a range "200-299"'
    match = _PART.fullmatch(part)
    if match is None:
        raise UsageError(f"health check matcher {matcher!r}: {part!r} is neither a status nor a range", hint=hint)
    low = int(match[1])
    high = int(match[2] or match[1])
    if not LOWEST_STATUS <= low <= high <= HIGHEST_STATUS:
        allowed = f"{LOWEST_STATUS}..{HIGHEST_STATUS}"
        raise UsageError(f"health check matcher {matcher!r}: {part!r} is not within {allowed}", hint=hint)
    return range(low, high + 1)
