"""Reading records: what may be missing, and the clock of the access log."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.verdict.records import as_flag, as_number, iso_seconds, read


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("2000-02-29T12:00:00Z", 951_825_600.0),
        ("2026-11-20T10:15:30.250000Z", 1_795_169_730.25),
        ("2027-03-01T00:00:00", 1_803_859_200.0),
        ("-", None),
        ("2026-11-20", None),
        ("2026-11-20T", None),
        ("2026-11-20 10:15:30", None),
        ("yesterday", None),
    ],
)
def test_iso_times_become_seconds(text: str, seconds: float | None) -> None:
    assert iso_seconds(text) == seconds


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        ("2.5", 2.5),
        (True, None),
        (None, None),
        ("x", None),
        (float("nan"), None),
        (10**400, None),
        ([], None),
    ],
)
def test_numbers_are_finite_or_none(value: Any, number: float | None) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), ("on", True), (1, True), (False, False), ("no", False), (None, False)]
)
def test_flags(value: Any, flag: bool) -> None:
    assert as_flag(value) is flag


def test_records_without_a_time_are_counted_and_dropped() -> None:
    history = read([{"kind": "mark", "name": "a", "t": 1}, {"kind": "mark", "name": "b"}, "torn", None])
    assert [mark.text for mark in history.marks] == ["a"]
    assert history.unusable == 3


def request(**fields: Any) -> dict[str, Any]:
    return {"t": 100.0, "kind": "request", "target": "a:1", **fields}


@pytest.mark.parametrize(
    ("fields", "arrived_at"),
    [
        ({}, 100.0),
        ({"request_processing_time": 0.5, "target_processing_time": 1.5, "response_processing_time": -1}, 98.0),
        ({"at": "2026-11-20T10:00:00Z", "request_creation_time": "2026-11-20T09:59:30Z"}, 70.0),
        (
            {"at": "2026-11-20T10:00:00Z", "request_creation_time": "2026-11-20T10:00:01Z"},
            100.0,
        ),  # never after its line
        ({"at": "2026-11-20T10:00:00Z", "request_creation_time": "-", "target_processing_time": 2}, 98.0),
        ({"request_creation_time": "2026-11-20T09:59:30Z"}, 100.0),
    ],
)
def test_a_request_arrived_before_its_line_was_written(fields: dict[str, Any], arrived_at: float) -> None:
    assert read([request(**fields)]).requests[0].arrived_at == pytest.approx(arrived_at)


def call(**fields: Any) -> dict[str, Any]:
    return {"t": 10.0, "kind": "call", "session": "s1", **fields}


@pytest.mark.parametrize(
    ("fields", "ok", "started_at"),
    [
        ({"http_status": 200}, True, 10.0),
        ({"http_status": 200, "rpc_error": {"code": -32600}}, False, 10.0),
        ({"http_status": "404"}, False, 10.0),
        ({"ok": True, "http_status": 502}, True, 10.0),
        ({"ok": True, "latency_s": 2}, True, 8.0),
        ({"ok": True, "latency_s": 2, "started_t": 7}, True, 7.0),
        ({"ok": True, "started_t": 11}, True, 10.0),
    ],
)
def test_a_call_is_read_with_whatever_it_has(fields: dict[str, Any], ok: bool, started_at: float) -> None:
    found = read([call(**fields)]).calls[0]
    assert (found.ok, found.started_at) == (ok, started_at)


@pytest.mark.parametrize(
    ("fields", "is_gone"),
    [
        ({"http_status": 404, "rpc_error": {"code": -32600, "message": "Session not found"}}, True),
        ({"http_status": 404, "rpc_error": {"code": -32001, "message": "Session not found"}}, True),
        ({"http_status": 400, "rpc_error": {"code": -32600, "message": "Bad Request: Missing session ID"}}, True),
        ({"http_status": 400, "error": "Bad Request: No valid session ID provided"}, True),
        (
            {"http_status": 404, "rpc_error": {"code": -32600, "message": "Not Found: Session has been terminated"}},
            True,
        ),
        ({"http_status": 404, "rpc_error": {"code": -32601, "message": "Method not found"}}, False),
        ({"http_status": 200, "error": "Session not found"}, False),
        ({"http_status": 502}, False),
    ],
)
def test_how_servers_say_that_a_session_is_gone(fields: dict[str, Any], is_gone: bool) -> None:
    assert read([call(**fields)]).calls[0].is_session_gone is is_gone


@pytest.mark.parametrize(
    ("fields", "is_unacknowledged"),
    [
        ({"ok": False}, True),
        ({"ok": False, "http_status": 502}, True),
        ({"ok": False, "http_status": 504}, True),
        ({"ok": False, "http_status": 200, "signature": "stream-ended-without-response"}, True),
        ({"ok": False, "http_status": 503}, False),  # no target was chosen
        ({"ok": False, "http_status": 404, "rpc_error": {"code": -32600}}, False),
        ({"ok": False, "signature": "connect-error"}, False),
        ({"ok": True}, False),
    ],
)
def test_which_failures_leave_the_outcome_open(fields: dict[str, Any], is_unacknowledged: bool) -> None:
    assert read([call(**fields)]).calls[0].is_unacknowledged is is_unacknowledged


@pytest.mark.parametrize(
    ("tool", "key", "kind"),
    [
        ("set_session_value", "", "write"),
        ("increment", "", "write"),
        ("charge", "k1", "write"),
        ("get_session_state", "", "read"),
        ("ping", "", ""),
        ("initialize", "", ""),
    ],
)
def test_writes_and_reads_are_told_apart(tool: str, key: str, kind: str) -> None:
    found = read([call(tool=tool, key=key)]).calls[0]
    assert (found.is_write, found.is_read) == (kind == "write", kind == "read")


def test_speed_is_one_unless_a_setting_says_otherwise() -> None:
    def speed(value: Any) -> float:
        return read([{"t": 0, "kind": "setting", "name": "speed", "value": value}]).speed

    assert [speed(value) for value in (10, "2.5", 0, -1, "fast", None)] == [10.0, 2.5, 1.0, 1.0, 1.0, 1.0]
    assert read([]).speed == 1.0
