"""Which task answered, where no answer says so."""

from __future__ import annotations

from typing import Any

from rollproof.verdict import judge
from rollproof.verdict.attribution import with_tasks
from rollproof.verdict.records import read
from tests.verdict.stories import ANNA, BERT, READ, WRITE, lost_at_drain

ADDRESS = {ANNA: "127.0.0.1:4001", BERT: "127.0.0.1:4002"}


def tasks_of(records: list[dict[str, Any]]) -> list[str]:
    return [call.task_id for call in with_tasks(read(records)).calls]


def call(t: float, session: str = "s1", **more: Any) -> dict[str, Any]:
    fields = {"tool": READ, "ok": True, "http_status": 200, "started_t": t - 0.1, "call_number": 1}
    return {"t": t, "kind": "call", "session": session, **fields, **more}


def request(t: float, task: str, status: str = "200") -> dict[str, Any]:
    return {"t": t, "kind": "request", "target": ADDRESS[task], "elb_status_code": status, "target_status_code": status}


def task(task_id: str) -> dict[str, Any]:
    return {"t": 0.0, "kind": "task", "task_id": task_id, "known": "RUNNING", "address": ADDRESS[task_id]}


TASKS = [task(ANNA), task(BERT)]


def test_a_call_was_answered_by_the_target_of_its_request() -> None:
    assert tasks_of([*TASKS, request(9.95, ANNA), call(10.0), request(19.95, BERT), call(20.0)]) == [ANNA, BERT]


def test_a_failed_call_is_attributed_by_its_own_status() -> None:
    failed = call(10.0, ok=False, http_status=404)
    assert tasks_of([*TASKS, request(9.95, ANNA), request(9.96, BERT, "404"), failed]) == [BERT]


def test_two_targets_at_once_leave_no_choice_and_the_whole_session_unnamed() -> None:
    overlapping = [request(9.95, ANNA), request(9.96, BERT), call(10.0)]
    assert tasks_of([*TASKS, *overlapping, request(19.95, BERT), call(20.0)]) == ["", ""]


def test_a_server_that_names_its_tasks_is_taken_at_its_word() -> None:
    named = call(10.0, task_id=ANNA)
    assert tasks_of([*TASKS, request(9.95, BERT), named, request(19.95, BERT), call(20.0)]) == [ANNA, ""]


def test_a_verdict_names_the_task_of_a_server_that_names_none() -> None:
    tale = lost_at_drain()
    unnamed = [
        {k: v for k, v in record.items() if k != "task_id" or record["kind"] != "call"} for record in tale.records
    ]
    log = [
        request(record["t"] - 0.001, record["task_id"])
        for record in tale.records
        if record["kind"] == "call" and record.get("task_id") in ADDRESS
    ]
    before, after = judge(unnamed), judge([*unnamed, *log])
    assert "the server names no task" in before.why
    assert f"(task {ANNA[:8]}) began draining" in after.why
    assert "names no task" not in after.why
    assert any(f"{WRITE} succeeded on task {ANNA[:8]}" in finding.text for finding in after.findings)
