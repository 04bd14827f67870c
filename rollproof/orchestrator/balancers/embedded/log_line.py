"""Lines of the access log, from an exchange or from what was refused before it became one.

`error_reason` names why the balancer answered by itself. Differs from AWS: an ALB fills that field only for rule
actions (authentication, Lambda, cookies of weighted groups) and leaves the cause of a 502 to be guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollproof.core.access_log import LINE, duration, quotable

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
    from rollproof.orchestrator.balancers.embedded.exchange import Exchange
    from rollproof.orchestrator.balancers.embedded.heads import Malformed


def exchange_line(exchange: Exchange) -> str:
    """The line of a request that was read whole. A WebSocket's is written when it closes."""
    plane, request, pool = exchange.plane, exchange.request, exchange.pool
    now, rules = plane.clock.now(), plane.rules
    kind = ("wss" if rules.is_secure else "ws") if exchange.is_tunnel else rules.scheme
    target = "-" if pool is None else pool.target_id
    target_status = str(exchange.target_status) if exchange.target_status else "-"
    reason = exchange.error_reason
    return LINE % (
        kind,
        plane.clock.iso(now),
        plane.elb,
        exchange.client.address.text,
        target,
        *_durations(exchange),
        exchange.elb_status,
        target_status,
        exchange.received,
        exchange.sent,
        _request_text(exchange),
        quotable(request.user_agent.decode("latin-1")) if request.user_agent else "-",
        "-",
        "-",
        plane.table.target_group_arn or "-",
        quotable(exchange.trace_id.decode("latin-1")),
        "-",
        "-",
        "0",
        plane.clock.iso(exchange.created_at),
        "forward",
        "-",
        reason,
        target,
        target_status,
        "-",
        "-",
        exchange.client.conn_trace_id,
        "-",
        "-",
        "-",
    )


def _durations(exchange: Exchange) -> tuple[str, str, str]:
    """Request, target and response processing time; -1 where the request did not come so far."""
    sent_at, answered_at = exchange.sent_at, exchange.answered_at
    return (
        duration(sent_at - exchange.created_at if sent_at else -1.0),
        duration(answered_at - sent_at if answered_at else -1.0),
        duration(exchange.answering_at - answered_at if exchange.answering_at else -1.0),
    )


def _request_text(exchange: Exchange) -> str:
    """`METHOD scheme://host:port/path HTTP/1.1`, the port always there."""
    request, rules = exchange.request, exchange.plane.rules
    host = (request.host or b"-").decode("latin-1")
    if ":" not in host.rpartition("]")[2]:
        host = f"{host}:{rules.port}"
    version = "1.0" if request.is_http10 else "1.1"
    path = request.target.decode("latin-1")
    return quotable(f"{request.method.decode()} {rules.scheme}://{host}{path} HTTP/{version}")


def refusal_line(
    client: ClientConnection, error: Malformed, line: bytes, received: int, sent: int, now: float
) -> str:
    """The line of bytes that were no acceptable request: no rule was evaluated, no target chosen.

    `line` is the first line received. Of it only the method is written: the rest is not to be trusted.
    """
    plane = client.plane
    classification, reason = ("Severe", error.reason) if error.status in (400, 501) else ("-", "-")
    at = plane.clock.iso(now)
    return LINE % (
        plane.rules.scheme,
        at,
        plane.elb,
        client.address.text,
        *("-", "-1", "-1", "-1", error.status, "-", received, sent),
        f"- {plane.rules.scheme}://-:{plane.rules.port}- -",
        *("-", "-", "-", "-", "-", "-", "-", "-1", at, "-", "-", "-", "-", "-"),
        *(classification, reason, client.conn_trace_id, "-", "-", "-"),
    )
