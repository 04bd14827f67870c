"""The counts of a session, or of a whole run, under the names that the published experiment's summary uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rollproof.verdict.records import Call


def summarise(calls: Sequence[Call], *, is_complete: bool) -> dict[str, Any]:
    """`session_complete` is the caller's judgement; everything else is counted here.

    A call that got no HTTP answer is counted under the status "none".
    """
    statuses = Counter("none" if call.http_status is None else str(call.http_status) for call in calls)
    tasks = list(dict.fromkeys(call.task_id for call in calls if call.task_id))
    last = next((call.task_id for call in reversed(calls) if call.task_id), None)
    return {
        "http_status_counts": dict(sorted(statuses.items())),
        "unique_task_ids": tasks,
        "first_task_id": tasks[0] if tasks else None,
        "last_task_id": last,
        "max_state_size": max((call.state_size for call in calls if call.state_size is not None), default=0),
        "session_not_found_count": sum(call.is_session_gone for call in calls),
        "error_rows": sum(not call.ok for call in calls),
        "session_complete": is_complete,
    }
