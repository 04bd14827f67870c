"""A probe's records in one object, under the names of the published experiment's summary. Pure.

http_status_counts       calls by HTTP status, initialize included; "none" where no response came
unique_task_ids          in order of first sight; first_task_id and last_task_id likewise
max_state_size           the most keys that any answer showed
session_not_found_count  answers that say so, whatever their status
error_rows               calls that were not as they should be
session_complete         every session's last call was well, and no read of its state showed a defect
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rollproof.history import Record
from rollproof.probe.checker import APPLIED_TWICE, STATE_FOREIGN, STATE_MISSING, STATE_WRONG
from rollproof.verdict.records import Call, read
from rollproof.verdict.summary import summarise

_DEFECTS = frozenset({APPLIED_TWICE, STATE_FOREIGN, STATE_MISSING, STATE_WRONG})


def summary(records: Iterable[Record]) -> dict[str, Any]:
    """Records of any kind; all but the calls are passed over."""
    calls = read(record for record in records if record.get("kind") == "call").calls
    last_calls: dict[str, Call] = {call.session: call for call in calls}
    is_complete = bool(calls) and all(call.ok for call in last_calls.values())
    return summarise(calls, is_complete=is_complete and not any(call.signature in _DEFECTS for call in calls))
