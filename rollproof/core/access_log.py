"""The ALB's access log: one line a request, its fields in AWS's order. ALB-UG/load-balancer-access-logs."""

from __future__ import annotations

from dataclasses import dataclass


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
