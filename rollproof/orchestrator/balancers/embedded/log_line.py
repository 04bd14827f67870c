"""Lines of the access log, from an exchange or from what was refused before it became one.

`error_reason` names why the balancer answered by itself. Differs from AWS: an ALB fills that field only for rule
actions (authentication, Lambda, cookies of weighted groups) and leaves the cause of a 502 to be guessed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from rollproof.core.access_log import FIELDS, LINE, duration, quotable

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
    from rollproof.orchestrator.balancers.embedded.exchange import Exchange
    from rollproof.orchestrator.balancers.embedded.heads import Malformed


_CONSTANT = {
    **dict.fromkeys(("ssl_cipher", "ssl_protocol", "domain_name", "chosen_cert_arn", "redirect_url"), "-"),
    **dict.fromkeys(("classification", "classification_reason", "request_transform_status"), "-"),
    **dict.fromkeys(("transformed_host", "transformed_uri"), "-"),
    "matched_rule_priority": "0",
    "actions_executed": "forward",
}
_EXCHANGE_LINE = LINE.replace("%d", "%s") % tuple(_CONSTANT.get(name, "%s") for name in FIELDS)
"""The line of an exchange with what never differs filled in."""


def exchange_line(exchange: Exchange) -> str:
    """The line of a request that was read whole. A WebSocket's is written when it closes."""
    plane, request, pool = exchange.plane, exchange.request, exchange.pool
    rules, client = plane.rules, exchange.client
    target = "-" if pool is None else pool.target_id
    target_status = exchange.target_status or "-"
    return _EXCHANGE_LINE % (
        ("wss" if rules.is_secure else "ws") if exchange.is_tunnel else rules.scheme,
        plane.clock.iso(exchange.ended_at),
        plane.elb,
        client.address.text,
        target,
        *_durations(exchange),
        exchange.elb_status,
        target_status,
        exchange.received,
        exchange.sent,
        _request_text(
            request.method, request.host or b"-", request.target, request.is_http10, rules.scheme, rules.port
        ),
        _text(request.user_agent) if request.user_agent else "-",
        plane.table.target_group_arn or "-",
        quotable(exchange.trace_id.decode("latin-1")),
        plane.clock.iso(exchange.created_at),
        exchange.error_reason,
        target,
        target_status,
        client.conn_trace_id,
    )


def _durations(exchange: Exchange) -> tuple[str, str, str]:
    """Request, target and response processing time; -1 where the request did not come so far."""
    sent_at, answered_at = exchange.sent_at, exchange.answered_at
    return (
        duration(sent_at - exchange.created_at if sent_at else -1.0),
        duration(answered_at - sent_at if exchange.target_status else -1.0),
        duration(exchange.answering_at - answered_at if exchange.target_status else -1.0),
    )


@lru_cache(maxsize=256)
def _request_text(method: bytes, host: bytes, target: bytes, is_http10: bool, scheme: str, port: int) -> str:
    """`METHOD scheme://host:port/path HTTP/1.1`, the port always there."""
    name = host.decode("latin-1")
    if ":" not in name.rpartition("]")[2]:
        name = f"{name}:{port}"
    version = "1.0" if is_http10 else "1.1"
    return quotable(f"{method.decode()} {scheme}://{name}{target.decode('latin-1')} HTTP/{version}")


@lru_cache(maxsize=256)
def _text(value: bytes) -> str:
    return quotable(value.decode("latin-1"))


class Refusal(NamedTuple):
    """Bytes that were no acceptable request: no rule was evaluated, no target chosen, nothing of it is quoted."""

    client: ClientConnection
    error: Malformed
    received: int
    sent: int
    at: float

    def log_line(self) -> str:
        plane, error = self.client.plane, self.error
        classification, reason = ("Severe", error.reason) if error.status in (400, 501) else ("-", "-")
        at = plane.clock.iso(self.at)
        return LINE % (
            plane.rules.scheme,
            at,
            plane.elb,
            self.client.address.text,
            *("-", "-1", "-1", "-1", error.status, "-", self.received, self.sent),
            f"- {plane.rules.scheme}://-:{plane.rules.port}- -",
            *("-", "-", "-", "-", "-", "-", "-", "-1", at, "-", "-", "-", "-", "-"),
            *(classification, reason, self.client.conn_trace_id, "-", "-", "-"),
        )
