"""The summary of a run's records, as the published experiment counts them."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.probe import summary


def call(t: float, ok: bool = True, session: str = "s1", **fields: Any) -> dict[str, Any]:
    record = {"kind": "call", "t": t, "session": session, "tool": "get_session_state", "ok": ok, "http_status": 200}
    return {**record, "signature": "ok" if ok else "502", **fields}


NOT_FOUND: dict[str, Any] = {
    "http_status": 404,
    "rpc_error": {"code": -32600, "message": "Session not found"},
    "signature": "404/-32600 Session not found",
}


def test_the_experiments_fields_are_counted() -> None:
    records = [
        {"kind": "mark", "t": 0.0, "name": "warmed-up"},
        call(1, task_id="a", state_size=1),
        call(2, task_id="b", state_size=2),
        call(3, task_id="a", state_size=1),
        call(4, ok=False, **NOT_FOUND),
        call(5, ok=False, http_status=None, signature="connect-error"),
    ]
    assert summary(records) == {
        "http_status_counts": {"200": 3, "404": 1, "none": 1},
        "unique_task_ids": ["a", "b"],
        "first_task_id": "a",
        "last_task_id": "a",
        "max_state_size": 2,
        "session_not_found_count": 1,
        "error_rows": 2,
        "session_complete": False,
    }


@pytest.mark.parametrize(
    ("records", "is_complete"),
    [
        pytest.param([], False, id="nothing_was_shown"),
        pytest.param([call(1, ok=False), call(2)], True, id="recovered"),
        pytest.param([call(1), call(2, ok=False)], False, id="ended_badly"),
        pytest.param([call(1), call(2, session="s2", ok=False)], False, id="one_of_two_ended_badly"),
        pytest.param([call(1, ok=False, signature="applied-twice"), call(2)], False, id="wrong_once"),
        pytest.param([call(1, ok=False, signature="state-missing"), call(2)], False, id="missing_once"),
    ],
)
def test_complete_means_every_session_ended_well_and_was_never_wrong(records: list[Any], is_complete: bool) -> None:
    assert summary(records)["session_complete"] is is_complete
