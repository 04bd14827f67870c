"""One request and its response, between a client's connection and a target's.

    begin ──> route ──> an idle connection, or a new one ──> request relayed ──> response relayed ──> finished
                 └─ 503                    └─ 502, 504            └─ 400, 408        └─ 502, 504, truncated

Nothing is tried twice: a target that refuses, resets or has just closed a kept-alive connection costs the client
a 502, as at an ALB, which has no retry (LBC#2366). An upgraded connection is the same exchange with both bodies
open-ended.
Callbacks only: no task runs for a request, except while a new connection to a target is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollproof.core.settings import Routing
from rollproof.core.stickiness import Claim
from rollproof.orchestrator.balancers.embedded.framing import (
    LAST_CHUNK,
    BadFraming,
    Chunked,
    FixedLength,
    Framing,
    NoBody,
    UntilClose,
    as_chunk,
)
from rollproof.orchestrator.balancers.embedded.log_line import exchange_line
from rollproof.orchestrator.balancers.embedded.target_side import TargetConnection, connect

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.client_side import ClientConnection
    from rollproof.orchestrator.balancers.embedded.heads import RequestHead, ResponseHead
    from rollproof.orchestrator.balancers.embedded.node import Node, TargetPool
    from rollproof.orchestrator.balancers.embedded.plane import DataPlane

PENDING_MAX = 64 * 1024
"""Bytes of a request kept while its connection is being made; more stay with the client."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """In flight from `begin` until `is_over`."""

    pool: TargetPool | None = None
    link: TargetConnection | None = None
    is_over = False
    is_tunnel = False
    request_done = False
    had_claim = False
    sent_at = answered_at = answering_at = ended_at = 0.0  # 0: it has not come to that
    elb_status = 0
    target_status = 0
    error_reason = "-"
    sent = 0
    _request_body: Framing | None = None
    _response_body: Framing | None = None
    _chunks = False
    _reusable = False

    def __init__(self, client: ClientConnection, node: Node, request: RequestHead, trace_id: bytes, now: float) -> None:
        self.client = client
        self.plane: DataPlane = client.plane
        self.node = node
        self.request = request
        self.trace_id = trace_id
        self.created_at = now
        self.received = request.size
        self._pending: list[bytes] = []
        self._keep_alive = request.keeps_alive

    # --- the request ----------------------------------------------------------------------------

    def begin(self, rest: bytes) -> None:
        """Route the request and send what there is of it; `rest` came behind its head."""
        request = self.request
        try:
            body = self._begin_body(rest)
        except BadFraming:
            self.fail(400, "BadChunk")
            return
        target, self.had_claim = self.plane.route(self.node, request, self.created_at)
        if target is None:
            all_taken = bool(self.node.view.choosable)
            self.fail(*((429, "NoFreeInstance") if all_taken else (503, "NoTarget")))
            return
        self.plane.thaw(target.address)
        self.pool = pool = self.node.pool(target, self.plane.stats_of)
        pool.busy[self] = None
        pool.stats.requests += 1
        pool.stats.outstanding += 1
        self.node.outstanding[target.id] += 1
        head = self.plane.rules.request_head(request, self.client.address, self.trace_id)
        if request.expects_continue and not self.request_done and not request.is_http10:
            self.client.write(_CONTINUE)
        link = pool.take()
        if link is not None:
            self._send(link, head + body if body else head)
        else:
            self._pending = [head, body]
            connect(self, pool)

    def _begin_body(self, rest: bytes) -> bytes:
        request = self.request
        if request.is_chunked:
            self._request_body = Chunked()
        elif request.content_length:
            self._request_body = FixedLength(request.content_length)
        else:
            self.request_done = True
            if rest:
                self.client.hold(rest)
            return b""
        return self._read_request(rest) if rest else b""

    def _read_request(self, data: bytes) -> bytes:
        """What of `data` is to be sent to the target. Raises BadFraming."""
        body = self._request_body
        assert body is not None  # noqa: S101 - only a request with a body, or a tunnel, gets here
        payload = body.feed(data)
        self.received += len(data) - len(body.rest)
        if self.request.is_chunked:
            payload = as_chunk(payload) + LAST_CHUNK if body.is_complete else as_chunk(payload)
        if body.is_complete:
            self.request_done = True
            if body.rest:
                self.client.hold(body.rest)
        return payload

    def on_request_data(self, data: bytes) -> None:
        """More of the request's body, or of the tunnel, from the client."""
        try:
            payload = self._read_request(data)
        except BadFraming:
            self.fail(400, "BadChunk")
            return
        if not payload:
            return
        if self.link is not None:
            self.link.write(payload)
        else:
            self._pending.append(payload)
            if sum(map(len, self._pending)) > PENDING_MAX:
                self.client.pause_reading()

    def on_connected(self, link: TargetConnection) -> None:
        """The new connection stands: send what has gathered."""
        pending, self._pending = self._pending, []
        self._send(link, b"".join(pending))
        if not self.request_done:
            self.client.resume_reading()

    def _send(self, link: TargetConnection, data: bytes) -> None:
        self.link = link
        link.exchange = self
        self.sent_at = self.plane.clock.now()
        link.write(data)

    # --- the response ---------------------------------------------------------------------------

    def on_response_head(self, response: ResponseHead, rest: bytes) -> None:
        """The target's answer; `rest` came behind its head."""
        now = self.answered_at = self.client.active_at = self.plane.clock.now()
        if response.status == 101:
            self._open_tunnel(response, rest, now)
            return
        body = self._response_body = self._response_framing(response)
        self._reusable = response.keeps_alive and self.plane.routing is not Routing.EXCLUSIVE
        if self.plane.routing is Routing.BY_SESSION_HEADER and self.pool is not None:
            self.plane.affinity.note(self.request, response, self.pool.target_id, now)
        try:
            payload = body.feed(rest) if rest else b""
        except BadFraming:
            self._response_body = None
            self.fail(502, "MalformedResponse")
            return
        length = self._length_field(response, body)
        if not self._keep_alive or not self.request_done or self.client.is_to_close(now):
            self._keep_alive = False
        head = self.plane.rules.response_head(
            response,
            self._cookies(response, now),
            length=length,
            keep_alive=self._keep_alive,
            date=self.plane.clock.date(now),
        )
        self.target_status = self.elb_status = response.status
        self.answering_at = self.plane.clock.now()
        self._write(head + self._encoded(payload, body.is_complete))
        if body.is_complete:
            self._finish()
        elif self.client.write_paused and self.link is not None:
            self.link.pause_reading()

    def _response_framing(self, response: ResponseHead) -> Framing:
        """RFC 9112, 6.3."""
        if self.request.method == b"HEAD" or response.status in (204, 304):
            return NoBody()
        if response.is_chunked:
            return Chunked()
        return UntilClose() if response.content_length is None else FixedLength(response.content_length)

    def _length_field(self, response: ResponseHead, body: Framing) -> bytes:
        """The framing field for the client. HTTP/1.0 knows no chunks: there, closing ends the body."""
        if response.content_length is not None:
            return b"" if response.status == 204 else b"Content-Length: %d\r\n" % response.content_length
        if isinstance(body, NoBody):
            is_chunked = response.is_chunked and self.request.method == b"HEAD" and not self.request.is_http10
            return b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        if self.request.is_http10:
            self._keep_alive = False
            return b""
        self._chunks = True
        return b"Transfer-Encoding: chunked\r\n"

    def _cookies(self, response: ResponseHead, now: float) -> bytes:
        assert self.pool is not None  # noqa: S101 - a target has answered
        plane = self.plane
        claim = Claim(plane.key_of(self.pool.target_id), plane.clock.unix(now) + plane.table.stickiness.duration_s)
        agent = self.request.user_agent or b""
        return plane.cookies.issue(claim, plane.clock.expires(now), self.had_claim, response.set_cookies, agent)

    def _encoded(self, payload: bytes, is_complete: bool) -> bytes:
        if not self._chunks:
            return payload
        return as_chunk(payload) + LAST_CHUNK if is_complete else as_chunk(payload)

    def on_response_data(self, data: bytes) -> None:
        """More of the response's body, or of the tunnel, from the target."""
        body = self._response_body
        assert body is not None  # noqa: S101 - only behind a head
        self.client.active_at = self.plane.clock.now()
        try:
            payload = body.feed(data)
        except BadFraming:
            self.fail(502, "MalformedResponse")
            return
        encoded = self._encoded(payload, body.is_complete)
        if encoded:
            self._write(encoded)
        if body.is_complete:
            self._finish()

    def _write(self, data: bytes) -> None:
        self.sent += len(data)
        self.client.write(data)

    def _open_tunnel(self, response: ResponseHead, rest: bytes, now: float) -> None:
        """101: from here on bytes pass both ways, unread, until one side closes. ALB-UG/listeners (WebSockets)."""
        if not self.request.is_websocket:
            self.fail(502, "MalformedResponse")
            return
        self.is_tunnel = True
        self._keep_alive = False
        self.target_status = self.elb_status = 101
        self._request_body, self._response_body = UntilClose(), UntilClose()
        self.request_done = False
        self.answering_at = now
        self._write(self.plane.rules.upgrade_head(response, self._cookies(response, now)) + rest)
        early = self.client.release_held()
        if early:
            self.on_request_data(early)

    # --- the end --------------------------------------------------------------------------------

    def on_target_lost(self, error: Exception | None) -> None:
        """The target closed or reset its connection."""
        self.link = None
        if isinstance(self._response_body, UntilClose) and error is None:
            self._response_body.close()
            if self._chunks:
                self._write(LAST_CHUNK)
            self._finish()
        else:
            self.fail(502, "TargetClosedConnection")

    def on_timeout(self) -> None:
        """No byte on either side for the idle timeout. 408 if the client owes some, 504 if the target does."""
        if self.link is None:
            return  # the connect timeout rules
        if not self.request_done and not self.is_tunnel and not self.link.write_paused:
            self.fail(408, "IdleTimeout")
        else:
            self.fail(504, "IdleTimeout")

    def on_client_lost(self) -> None:
        """The client closed first: 460 if it had no answer yet, 400 if its body had not all come.

        ALB-UG/load-balancer-troubleshooting.
        """
        if self.is_over:
            return
        self._drop_link()
        if not self.elb_status:
            self.elb_status = 460 if self.request_done else 400
        self._close_books("-" if self.is_tunnel else "ClientClosedConnection")

    def fail(self, status: int, reason: str) -> None:
        """Answer with an error page; where the response has begun, close the client's connection instead."""
        if self.is_over:
            return
        self._drop_link()
        if self.elb_status:
            self._close_books(reason)
            self.client.truncate(is_delimited=self._chunks or isinstance(self._response_body, FixedLength))
            return
        self.elb_status = status
        keep_alive = self._keep_alive and self.request_done and status >= 500
        keep_alive = keep_alive and not self.client.is_to_close(self.plane.clock.now())
        page = self.client.error_page(status, keep_alive=keep_alive, is_head=self.request.method == b"HEAD")
        self.sent += len(page)
        self._close_books(reason)
        self.client.write(page)
        self.client.exchange_over(keep_alive=keep_alive, request_done=self.request_done)

    def _finish(self) -> None:
        """The response is complete: log it, and set both connections free."""
        link, body, pool = self.link, self._response_body, self.pool
        self._close_books("-")
        if link is not None and pool is not None:
            self.link = None
            link.exchange = None
            clean = body is not None and not body.rest and not isinstance(body, UntilClose)
            if self._reusable and clean and self.request_done:
                link.rest(self.client.active_at)
                pool.give_back(link)
            elif self.request_done:
                link.close()
            else:
                link.abort()  # the rest of the upload is of no use any more
        self.client.exchange_over(keep_alive=self._keep_alive, request_done=self.request_done or self.is_tunnel)

    def _drop_link(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.exchange = None
            link.abort()

    def _close_books(self, reason: str) -> None:
        self.is_over = True
        self.error_reason = reason
        pool, node, stats = self.pool, self.node, self.node.stats
        if pool is not None:
            pool.busy.pop(self, None)
            pool.stats.outstanding -= 1
            node.outstanding[pool.target_id] -= 1
            if not pool.stats.outstanding:
                self.plane.freeze(pool.address)
        if self.target_status:
            stats.target_statuses[self.target_status] += 1
        else:
            stats.elb_statuses[self.elb_status] += 1
        stats.requests += 1
        stats.processed_bytes += self.received + self.sent
        self.ended_at = self.plane.clock.now()
        self.plane.log.write(self)

    def log_line(self) -> str:
        return exchange_line(self)
