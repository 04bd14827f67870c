"""The access log's line, there and back."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollproof.core.access_log import (
    FIELDS,
    AccessLogEntry,
    duration,
    format_entry,
    load_balancer_resource,
    parse_line,
)

HTTP = (
    "http 2026-07-02T22:23:00.186641Z app/mcp/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:8000 "
    '0.000 0.001 0.000 200 200 34 366 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.46.0" - - '
    "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/mcp/73e2d6bc24d8a067 "
    '"Root=1-58337262-36d228ad5d99923122bbe354" "-" "-" '
    '0 2026-07-02T22:22:48.364000Z "forward" "-" "-" "10.0.0.1:8000" "200" "-" "-"'
)
WITH_NEWER_FIELDS = HTTP + ' TID_1234abcd5678ef90 "-" "-" "-"'
REFUSED = (
    "http 2026-07-02T22:23:00.186641Z app/mcp/50dc6c495c0c9188 192.168.131.39:2817 - "
    '-1 -1 -1 400 - 18 272 "- http://-:80- -" "-" - - - "-" "-" "-" '
    '-1 2026-07-02T22:22:48.364000Z "-" "-" "-" "-" "-" "Severe" "BadHeader" TID_1234abcd5678ef90 "-" "-" "-"'
)


@pytest.mark.fidelity("ALB-HTTP-23", source="ALB-UG/load-balancer-access-logs", mark="doc")
@pytest.mark.parametrize("line", [WITH_NEWER_FIELDS, REFUSED])
def test_a_line_comes_back_byte_for_byte(line: str) -> None:
    assert format_entry(parse_line(line)) == line


def test_the_fields_are_read_into_their_places() -> None:
    entry = parse_line(WITH_NEWER_FIELDS + "\r\n")
    assert (entry.type, entry.client, entry.target) == ("http", "192.168.131.39:2817", "10.0.0.1:8000")
    assert (entry.request_processing_time, entry.target_processing_time) == (0.0, 0.001)
    assert (entry.elb_status_code, entry.received_bytes, entry.sent_bytes) == ("200", 34, 366)
    assert (entry.request, entry.user_agent) == ("GET http://www.example.com:80/ HTTP/1.1", "curl/7.46.0")
    assert (entry.matched_rule_priority, entry.actions_executed, entry.error_reason) == ("0", "forward", "-")
    assert (entry.target_port_list, entry.target_status_code_list) == ("10.0.0.1:8000", "200")
    assert (entry.conn_trace_id, entry.transformed_host) == ("TID_1234abcd5678ef90", "-")
    assert entry.target_group_arn.endswith("targetgroup/mcp/73e2d6bc24d8a067")


def test_a_line_of_the_documented_29_fields_is_read() -> None:
    assert parse_line(HTTP).conn_trace_id == "-"
    assert parse_line(HTTP).classification_reason == "-"


def test_fields_yet_to_be_invented_are_ignored() -> None:
    assert parse_line(WITH_NEWER_FIELDS + ' 10.0.0.9 "new"') == parse_line(WITH_NEWER_FIELDS)


@pytest.mark.fidelity("ALB-HTTP-24", source="ALB-UG/load-balancer-access-logs", mark="doc")
def test_what_was_refused_was_never_dispatched() -> None:
    entry = parse_line(REFUSED)
    assert (entry.target, entry.request_processing_time, entry.matched_rule_priority) == ("-", -1.0, "-1")
    assert (entry.classification, entry.classification_reason) == ("Severe", "BadHeader")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("", "0 fields", id="empty"),
        pytest.param("http 2026", "2 fields", id="torn"),
        pytest.param('http "unclosed', "unreadable at column 6", id="open_quote"),
        pytest.param('http a"b" c', "unreadable at column 6", id="quote_within_a_word"),
        pytest.param(HTTP.replace("0.001", "soon"), "soon", id="no_duration"),
        pytest.param(HTTP.replace(" 34 ", " many "), "many", id="no_count"),
    ],
)
def test_what_is_no_line_is_an_error_that_says_where(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_line(line)


@pytest.mark.parametrize(("seconds", "text"), [(-1.0, "-1"), (0.0, "0.000"), (0.0006, "0.001"), (61.5, "61.500")])
def test_durations_have_milliseconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_load_balancer_has_the_form_of_its_resource_id_and_keeps_it() -> None:
    assert load_balancer_resource("mcp") == load_balancer_resource("mcp") != load_balancer_resource("other")
    kind, name, suffix = load_balancer_resource("mcp").split("/")
    assert (kind, name, len(suffix)) == ("app", "mcp", 16)


@pytest.mark.fidelity("ALB-HTTP-23", source="ALB-UG/load-balancer-access-logs", mark="doc")
def test_every_field_of_the_entry_stands_in_the_line() -> None:
    assert sorted(FIELDS) == sorted(f.name for f in fields(AccessLogEntry))


LATIN_1 = st.text(st.characters(max_codepoint=255), max_size=40)


@given(request=LATIN_1, user_agent=LATIN_1, reason=LATIN_1)
def test_no_text_of_a_client_can_break_or_forge_a_line(request: str, user_agent: str, reason: str) -> None:
    entry = AccessLogEntry(
        **dict.fromkeys(("type", "time", "elb", "client", "target", "elb_status_code", "target_status_code"), "-"),
        request_processing_time=-1.0,
        target_processing_time=-1.0,
        response_processing_time=-1.0,
        received_bytes=0,
        sent_bytes=0,
        request=request,
        user_agent=user_agent,
        error_reason=reason,
    )
    line = format_entry(entry)
    assert line.isprintable()
    assert line.isascii()
    assert parse_line(line) == entry
