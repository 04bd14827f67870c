"""A connection to a target: it carries one exchange after another, and rests in its pool between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from rollproof.orchestrator.balancers.embedded.heads import RESPONSE_HEAD_MAX, Malformed, parse_response

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.exchange import Exchange
    from rollproof.orchestrator.balancers.embedded.node import TargetPool

_STATUS_LINE_START = b"HTTP/1."


class TargetConnection(asyncio.Protocol):
    """`exchange` is None while it rests; bytes that come then are nobody's, and close it."""

    def __init__(self, pool: TargetPool) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.active_at = 0.0
        self.write_paused = False
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._head = b""  # of a response, as far as it has come
        self._in_body = False
        self._reading_paused = False

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.pool.stats.connections += 1

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif self._in_body:
            exchange.on_response_data(data)
        else:
            try:
                self._read_head(exchange, self._head + data if self._head else data)
            except Malformed as error:
                exchange.fail(error.status, error.reason)

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        """Raises Malformed. Interim answers (1xx) but 101 end here: the balancer itself has sent 100."""
        while (end := data.find(b"\r\n\r\n")) >= 0:
            response = parse_response(data[: end + 4])
            data = data[end + 4 :]
            if response.status >= 200 or response.status == 101:
                self._head, self._in_body = b"", True
                exchange.on_response_head(response, data)
                return
        if len(data) > RESPONSE_HEAD_MAX:
            raise Malformed(502, "ResponseHeadTooLarge")
        if not data.startswith(_STATUS_LINE_START[: len(data)]):
            raise Malformed(502, "MalformedResponse")
        self._head = data

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_target_lost(exc)

    # --- for the exchange -----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def rest(self, now: float) -> None:
        """The exchange is over and the connection good for another."""
        self._in_body = False
        self.active_at = now
        self.resume_reading()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # --- backpressure ---------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """The client reads slowly: leave the rest with the target."""
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.client.pause_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None and not self.exchange.request_done:
            self.exchange.client.resume_reading()


def connect(exchange: Exchange, pool: TargetPool) -> None:
    """Make a new connection for `exchange`: the only task a request may need."""
    task = asyncio.get_running_loop().create_task(_connect(exchange, pool))
    pool.connects.add(task)
    task.add_done_callback(pool.connects.discard)


async def _connect(exchange: Exchange, pool: TargetPool) -> None:
    """502 if the target refuses or cannot be reached, 504 if it does not answer within the connect timeout.

    ALB-UG/load-balancer-troubleshooting. The exchange may be over when the connection stands: then it rests.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(exchange.plane.settings.connect_timeout_s):
            _, link = await loop.create_connection(lambda: TargetConnection(pool), pool.host, pool.port)
    except TimeoutError:
        pool.node.stats.target_connection_errors += 1
        exchange.fail(504, "TargetConnectTimeout")
    except OSError:
        pool.node.stats.target_connection_errors += 1
        exchange.plane.affinity.forget(pool.target_id)
        exchange.fail(502, "TargetConnectionRefused")
    else:
        if exchange.is_over:
            link.rest(exchange.client.active_at)
            pool.give_back(link)
        else:
            exchange.on_connected(link)
