"""A client's connection: reads request heads, one exchange at a time, and answers what is no request.

Pipelined requests wait in a buffer and are served in order. A connection that is to be closed while the client
may still be sending is closed in two steps (RFC 9112, 9.6): the last response and FIN first, then what still
comes is read and dropped for a moment, so that no reset destroys the answer on its way.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

from rollproof.orchestrator.balancers.embedded.exchange import Exchange
from rollproof.orchestrator.balancers.embedded.forwarding import Address, traced
from rollproof.orchestrator.balancers.embedded.heads import (
    REQUEST_HEAD_MAX,
    REQUEST_LINE_MAX,
    Malformed,
    parse_request,
)
from rollproof.orchestrator.balancers.embedded.log_line import Refusal
from rollproof.orchestrator.balancers.embedded.pages import error_page

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.node import Node
    from rollproof.orchestrator.balancers.embedded.plane import DataPlane

_HELD_MAX = 64 * 1024
_LINGER_S = 2.0
_BARE_LF = re.compile(rb"(?<!\r)\n")
_METHOD_START = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")


class ClientConnection(asyncio.Protocol):
    """Belongs to one node for its life."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.exchange: Exchange | None = None
        self.write_paused = False
        self.address = Address("-", 0)
        self.active_at = 0.0  # the last byte either way
        self._opened_at = 0.0
        self._node_index = plane.next_node_index()
        self._home = plane.node_at(self._node_index)  # where the connection is counted
        self.conn_trace_id = "TID_" + plane.fresh_id(32).decode()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._buffer = bytearray()  # half a head, or requests that wait for their turn
        self._scanned = 0
        self._head_started_at = 0.0
        self._reading_paused = False
        self._closing_at = 0.0  # since when it is only drained, or flushed; 0: it is open
        self._unsent = 0

    # --- from the loop ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("-", 0)
        self.address = Address(str(peer[0]), int(peer[1]))
        self._opened_at = self.active_at = self.plane.clock.now()
        self.plane.clients[self] = None
        self._home.stats.new_connections += 1
        self._home.stats.active_connections += 1

    def connection_lost(self, _exc: Exception | None) -> None:
        self.plane.clients.pop(self, None)
        self._home.stats.active_connections -= 1
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        now = self.active_at = self.plane.clock.now()
        if exchange is not None:
            if exchange.request_done:
                self.hold(data)
            else:
                exchange.on_request_data(data)
        elif self._closing_at:
            return
        elif self._buffer:
            self._buffer += data
            self._read_buffer(now)
        else:
            self._read_head(data, now)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None and self.exchange.link is not None:
            self.exchange.link.pause_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None and self.exchange.link is not None:
            self.exchange.link.resume_reading()

    # --- reading requests ---------------------------------------------------------------------------

    def _read_head(self, data: bytes, now: float) -> None:
        """Begin the exchange of the request in `data`, or wait for the rest of its head."""
        while data.startswith(b"\r\n"):  # RFC 9112, 2.2: empty lines before a request are skipped
            data = data[2:]
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._wait_for_head(data, now)
            return
        self._head_started_at = 0.0
        try:
            request = parse_request(data[: end + 4] if len(data) > end + 4 else data)
        except Malformed as error:
            self._refuse(error, data, now)
            return
        trace_id = traced(request.trace_id, self.plane.fresh_trace_id(now))
        self.exchange = exchange = Exchange(self, self._node, request, trace_id, now)
        exchange.begin(data[end + 4 :])

    def _read_buffer(self, now: float) -> None:
        """As `_read_head`, for a head that came in parts: looks only at what is new, however slowly it comes."""
        if self._buffer.find(b"\r\n\r\n", max(0, self._scanned - 3)) >= 0 or self._buffer.startswith(b"\r\n"):
            data = bytes(self._buffer)
            self._buffer.clear()
            self._scanned = 0
            self._read_head(data, now)
        else:
            self._check_half_head(now)

    def _wait_for_head(self, data: bytes, now: float) -> None:
        self._buffer += data
        if self._buffer:
            self._check_half_head(now)

    def _check_half_head(self, now: float) -> None:
        """Refuse at once what cannot become a request any more."""
        buffer = self._buffer
        if not self._head_started_at:
            self._head_started_at = now
        reason = ""
        if len(buffer) > REQUEST_HEAD_MAX:
            reason = "HeadTooLarge"
        elif len(buffer) > REQUEST_LINE_MAX and buffer.find(b"\r\n", 0, REQUEST_LINE_MAX + 2) < 0:
            reason = "BadUri"
        elif _METHOD_START.match(buffer) is None and buffer != b"\r":
            reason = "BadMethod"
        elif _BARE_LF.search(buffer, self._scanned) is not None:
            reason = "BadHeader"
        self._scanned = len(buffer)
        if reason:
            self._refuse(Malformed(400, reason), bytes(buffer), now)

    def _refuse(self, error: Malformed, data: bytes, now: float) -> None:
        """Answer what is no request, and close: nothing behind it can be trusted."""
        self._buffer.clear()
        page = self.error_page(error.status, keep_alive=False, is_head=False)
        stats = self._node.stats
        stats.elb_statuses[error.status] += 1
        stats.requests += 1
        self.plane.log.write(Refusal(self, error, len(data), len(page), now))
        self.write(page)
        self._close_in_two_steps()

    @property
    def _node(self) -> Node:
        return self.plane.node_at(self._node_index)

    # --- for the exchange ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def hold(self, data: bytes) -> None:
        """Keep bytes of a next request until this one is answered."""
        self._buffer += data
        if len(self._buffer) > _HELD_MAX:
            self.pause_reading()

    def release_held(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        self.resume_reading()
        return data

    def is_to_close(self, now: float) -> bool:
        """Whether the next response is the last: its life (client_keep_alive) is over, or the balancer's."""
        return self.plane.is_stopping or now - self._opened_at >= self.plane.settings.client_keep_alive_s

    def error_page(self, status: int, *, keep_alive: bool, is_head: bool) -> bytes:
        return error_page(
            status,
            date=self.plane.clock.date(self.plane.clock.now()),
            server_header=self.plane.rules.server_header,
            keep_alive=keep_alive,
            is_head=is_head,
        )

    def exchange_over(self, *, keep_alive: bool, request_done: bool) -> None:
        """The response is written: close, or go on with the next request."""
        self.exchange = None
        if not keep_alive:
            if request_done:
                self.close()
            else:
                self._close_in_two_steps()
            return
        self.resume_reading()
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        if self.exchange is None and not self._closing_at and self._buffer and not self._transport.is_closing():
            self._read_buffer(self.plane.clock.now())

    def truncate(self, *, is_delimited: bool) -> None:
        """End a response in its middle. Where only the end of the connection would tell its end, reset it instead."""
        self.exchange = None
        if is_delimited and not self.write_paused:
            self.close()
        else:
            self._transport.abort()

    def close(self) -> None:
        """Close when what is written has left; `sweep` sees to it that this ends."""
        if not self._closing_at:
            self._closing_at = self.plane.clock.now()
        self._transport.close()

    def end(self) -> None:
        """The balancer ends."""
        if self.exchange is not None:
            self.exchange.fail(502, "BalancerStopped")
        if self._transport.get_write_buffer_size():
            self.close()
        else:
            self._transport.abort()

    def _close_in_two_steps(self) -> None:
        self._closing_at = self.plane.clock.now()
        self.resume_reading()
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    # --- backpressure and time ------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def sweep(self, now: float) -> None:
        """Apply the timeouts of one connection."""
        idle_s = self.plane.settings.idle_timeout_s
        self._note_flow(now)
        if self._closing_at:
            if now - self._closing_at >= min(_LINGER_S, idle_s) and now - self.active_at >= min(_LINGER_S, idle_s):
                self._transport.abort()
        elif self.exchange is not None:
            if now - self.exchange.created_at >= self.plane.request_timeout_s:
                self.exchange.fail(504, "RequestTimeout")
            elif now - self.active_at >= idle_s:
                self.exchange.on_timeout()
        elif self._head_started_at:
            if now - self._head_started_at >= idle_s:
                self._head_started_at = 0.0
                self._refuse(Malformed(408, "-"), bytes(self._buffer), now)
        elif self.plane.is_stopping or now - self.active_at >= idle_s or self.is_to_close(now):
            self.close()

    def _note_flow(self, now: float) -> None:
        """A slow reader that still takes bytes is not idle."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self.active_at = now
        self._unsent = unsent
