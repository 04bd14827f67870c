"""The ALB's access log: one line a request, its fields in AWS's order. ALB-UG/load-balancer-access-logs.

Fields 1 to 29 are documented; 30 to 33 came later and are read by public parsers [observed]. `format_entry` writes
all 33, `parse_line` reads 29 or more. Durations have milliseconds and instants microseconds, as AWS writes them.
Quotes, backslashes and control characters inside a quoted field are written as \\xHH, so that no
client can forge a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class AccessLogEntry:
    """One request. Times in seconds, -1 where never dispatched; "-" where a value is missing, as in the log."""

    type: str
    time: str  # ISO 8601, when the response was sent
    elb: str
    client: str
    target: str
    request_processing_time: float
    target_processing_time: float
    response_processing_time: float
    elb_status_code: str
    target_status_code: str
    received_bytes: int
    sent_bytes: int
    request: str
    user_agent: str
    target_group_arn: str = "-"
    trace_id: str = "-"
    request_creation_time: str = "-"
    error_reason: str = "-"
    classification: str = "-"
    ssl_cipher: str = "-"
    ssl_protocol: str = "-"
    domain_name: str = "-"
    chosen_cert_arn: str = "-"
    matched_rule_priority: str = "0"  # 0 is the default rule; -1 none was evaluated
    actions_executed: str = "forward"
    redirect_url: str = "-"
    target_port_list: str = "-"
    target_status_code_list: str = "-"
    classification_reason: str = "-"
    conn_trace_id: str = "-"
    transformed_host: str = "-"
    transformed_uri: str = "-"
    request_transform_status: str = "-"


FIELDS = (
    *("type", "time", "elb", "client", "target"),
    *("request_processing_time", "target_processing_time", "response_processing_time"),
    *("elb_status_code", "target_status_code", "received_bytes", "sent_bytes", "request", "user_agent"),
    *("ssl_cipher", "ssl_protocol", "target_group_arn", "trace_id", "domain_name", "chosen_cert_arn"),
    *("matched_rule_priority", "request_creation_time", "actions_executed", "redirect_url", "error_reason"),
    *("target_port_list", "target_status_code_list", "classification", "classification_reason"),
    *("conn_trace_id", "transformed_host", "transformed_uri", "request_transform_status"),
)
"""The dataclass's fields in the order of the line."""

_QUOTED = frozenset(
    {
        *("request", "user_agent", "trace_id", "domain_name", "chosen_cert_arn", "actions_executed"),
        *("redirect_url", "error_reason", "target_port_list", "target_status_code_list"),
        *("classification", "classification_reason", "transformed_host", "transformed_uri"),
        "request_transform_status",
    }
)
_DURATIONS = frozenset({"request_processing_time", "target_processing_time", "response_processing_time"})
_COUNTS = frozenset({"received_bytes", "sent_bytes"})
_FIELDS_MIN = 29

LINE = " ".join(
    '"%s"' if f in _QUOTED else "%s" if f not in _COUNTS else "%d" for f in FIELDS
)  # fill with the values of FIELDS, in order: `duration` and `quotable` applied where they are due

_TOKEN = re.compile(r'"([^"]*)"(?: |$)|([^" ]+)(?: |$)')
_UNQUOTABLE = re.compile(r'[\x00-\x1f"\\\x7f-\U0010ffff]')
_ESCAPED = re.compile(r"\\x([0-9A-F]{2})")


def format_entry(entry: AccessLogEntry) -> str:
    """The line, without its newline."""
    return LINE % tuple(_written(name, getattr(entry, name)) for name in FIELDS)


def parse_line(line: str) -> AccessLogEntry:
    """The entry of one line; fields after the 33rd are ignored. Raises ValueError where it is no line of the log."""
    tokens: list[str] = []
    at, line = 0, line.rstrip("\r\n")
    while at < len(line):
        found = _TOKEN.match(line, at)
        if found is None:
            raise ValueError(f"not an access log line: unreadable at column {at + 1}")
        tokens.append(found[2] if found[1] is None else found[1])
        at = found.end()
    if len(tokens) < _FIELDS_MIN:
        raise ValueError(f"not an access log line: {len(tokens)} fields, at least {_FIELDS_MIN} expected")
    values = {name: _read(name, token) for name, token in zip(FIELDS, tokens, strict=False)}
    return AccessLogEntry(**values)  # type: ignore[arg-type]  # each value has the type that _read gives its field


def duration(seconds: float) -> str:
    """A *_processing_time as written: milliseconds, or -1 where the request was not dispatched."""
    return "-1" if seconds < 0 else f"{seconds:.3f}"


def quotable(text: str) -> str:
    """`text` (one character a byte, latin-1) as it may stand between quotes."""
    return _UNQUOTABLE.sub(_escape, text)


def load_balancer_resource(name: str) -> str:
    """The `elb` field: app/<name>/<16 hex>, the same for the same name."""
    suffix = sha256(b"load-balancer\x1f" + name.encode()).hexdigest()[:16]
    return f"app/{name}/{suffix}"


def _escape(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02X}" for byte in found[0].encode("latin-1", "replace"))


def _written(name: str, value: str | float) -> str | int:
    if name in _DURATIONS:
        return duration(float(value))
    if name in _COUNTS:
        return int(value)
    return quotable(str(value)) if name in _QUOTED else str(value)


def _read(name: str, token: str) -> str | float | int:
    if name in _DURATIONS:
        return float(token)
    if name in _COUNTS:
        return int(token)
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), token) if name in _QUOTED else token
