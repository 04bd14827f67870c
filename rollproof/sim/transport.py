"""One end of a connection in memory: an asyncio transport whose bytes arrive at the other end a latency later."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from rollproof.sim.network import Network
    from rollproof.sim.process import SimProcess

KERNEL_BUFFER = 256 * 1024
"""Bytes that two kernels hold between a writer and a reader who does not read, before the writer notices."""

_CHUNK = 256 * 1024
_SEGMENT = 64 * 1024
_HIGH, _LOW = 64 * 1024, 16 * 1024
_END = b""


class Endpoint(NamedTuple):
    host: str
    port: int


class MemoryTransport(asyncio.Transport):
    """`process` is whose end it is; None: the simulation's own. Callbacks run in `context`."""

    def __init__(
        self,
        network: Network,
        protocol: asyncio.BaseProtocol,
        own: Endpoint,
        peer: Endpoint,
        process: SimProcess | None,
        context: contextvars.Context,
    ) -> None:
        super().__init__({"sockname": tuple(own), "peername": tuple(peer), "socket": _Socket(self, own, peer)})
        self.process = process
        self.own = own
        self._network, self._protocol, self._context = network, protocol, context
        self._loop = asyncio.get_running_loop()
        self._peer: MemoryTransport = self
        self._coming: deque[tuple[float, bytes | Exception]] = deque()
        self._coming_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = self._is_closing = self._is_over = self._is_dead = False
        self._has_sent_end = self._has_had_end = False
        self._high, self._low = _HIGH, _LOW
        self._has_paused_writer = False

    def join(self, peer: MemoryTransport) -> None:
        self._peer, peer._peer = peer, self

    def begin(self) -> None:
        self._context.run(self._protocol.connection_made, self)

    # --- what protocols ask for -----------------------------------------------------------------------------

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.flush()

    def write(self, data: Any) -> None:
        if self._has_sent_end and not self._is_closing:
            raise RuntimeError("Cannot call write() after write_eof()")
        if data and not self._is_closing and not self._is_dead:
            data = bytes(data)
            for at in range(0, len(data), _SEGMENT):
                self._send(data[at : at + _SEGMENT])
            self._check_writer()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._has_sent_end and not self._is_closing:
            self._has_sent_end = True
            self._send(_END)

    def get_write_buffer_size(self) -> int:
        return max(0, self._peer._coming_bytes - KERNEL_BUFFER)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _HIGH if high is None else high
        self._low = self._high // 4 if low is None else low

    def close(self) -> None:
        """What was written still arrives, then the end."""
        if not self._is_closing:
            self._is_closing = True
            if not self._has_sent_end and not self._is_dead:
                self._has_sent_end = True
                self._send(_END)
            self._lose(None)

    def abort(self) -> None:
        """The other end is told by a reset; what was on its way to it is lost where it has not been read."""
        if not self._is_over:
            self._is_closing = True
            if not self._is_dead:
                self._send(ConnectionResetError("connection reset by peer"))
            self._lose(None)

    # --- on the way -----------------------------------------------------------------------------------------

    def die(self) -> None:
        """The process is gone: its kernel ends the connection, and its own code hears and says nothing any more."""
        if not self._is_dead:
            if not self._has_sent_end and not self._is_closing:
                self._send(_END)
            self._is_dead = self._is_closing = True
            self._network.forget(self)

    def _send(self, what: bytes | Exception) -> None:
        peer = self._peer
        path = self._network.path(self.own.host, peer.own.host)
        at = self._loop.time() + path.latency_s
        if peer._coming and peer._coming[-1][0] > at:  # never before what was sent before
            at = peer._coming[-1][0]
        peer._coming.append((at, what))
        if isinstance(what, bytes):
            peer._coming_bytes += len(what)
        peer._wait()

    def _wait(self) -> None:
        if self._timer is None and self._coming and not self._is_over:
            self._timer = self._loop.call_at(self._coming[0][0], self._arrive, context=self._context)

    def _arrive(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Deliver what has arrived, unless nobody takes it: paused, frozen, or cut off."""
        if not self._coming or self._is_over or self._is_dead or self._timer is not None:
            return
        if self._is_paused or (self.process is not None and self.process.is_frozen):
            return
        if self._network.path(self._peer.own.host, self.own.host).is_cut:
            return
        if self._coming[0][0] > self._loop.time():
            self._wait()
            return
        self._timer = self._loop.call_at(self._loop.time(), self._deliver, context=self._context)

    def _deliver(self) -> None:
        self._timer = None
        if self._is_over or self._is_dead or self._is_paused:
            return
        now, parts, size = self._loop.time(), [], 0
        while self._coming and self._coming[0][0] <= now and size < _CHUNK:
            what = self._coming[0][1]
            if not isinstance(what, bytes) or not what:
                break
            parts.append(what)
            size += len(what)
            self._coming.popleft()
        if parts:
            self._coming_bytes -= size
            self._peer._check_writer()
            cast("asyncio.Protocol", self._protocol).data_received(b"".join(parts))
        elif self._coming and self._coming[0][0] <= now:
            self._take_end(self._coming.popleft()[1])
        self.flush()

    def _take_end(self, what: bytes | Exception) -> None:
        if isinstance(what, Exception):
            self._is_closing = True
            self._lose(what)
        elif not self._has_had_end:
            self._has_had_end = True
            if not cast("asyncio.Protocol", self._protocol).eof_received():
                self.close()

    def _lose(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._network.forget(self)
            if self._timer is not None:
                self._timer.cancel()
            self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)

    def _check_writer(self) -> None:
        unsent = self.get_write_buffer_size()
        protocol = cast("asyncio.Protocol", self._protocol)
        if self._has_paused_writer and unsent <= self._low:
            self._has_paused_writer = False
            self._loop.call_soon(protocol.resume_writing, context=self._context)
        elif not self._has_paused_writer and unsent > self._high:
            self._has_paused_writer = True
            self._context.copy().run(protocol.pause_writing)

    @property
    def has_news(self) -> bool:
        """Whether a read would return at once: bytes, or the end."""
        return self._is_over or self._is_dead or any(at <= self._loop.time() for at, _ in self._coming)


class _Socket:
    """As much of a socket as clients and servers ask a transport's for. httpx looks whether it is readable."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, transport: MemoryTransport, own: Endpoint, peer: Endpoint) -> None:
        self._transport, self._own, self._peer = transport, own, peer

    def getsockname(self) -> tuple[str, int]:
        return self._own.host, self._own.port

    def getpeername(self) -> tuple[str, int]:
        return self._peer.host, self._peer.port

    def setsockopt(self, *_: Any) -> None:
        """Nothing that it would change exists."""

    def getsockopt(self, *_: Any) -> int:
        return 0

    def fileno(self) -> int:
        """A descriptor that is readable just when this connection is."""
        return _DESCRIPTORS.readable if self._transport.has_news else _DESCRIPTORS.silent


class _Descriptors:
    """Two for all connections, open for as long as this program runs: one at its end, one on which nothing comes."""

    def __init__(self) -> None:
        self._made: tuple[int, int] | None = None

    def _pair(self) -> tuple[int, int]:
        if self._made is None:
            ended, writer = os.pipe()
            os.close(writer)
            silent, _ = os.pipe()
            self._made = ended, silent
        return self._made

    @property
    def readable(self) -> int:
        return self._pair()[0]

    @property
    def silent(self) -> int:
        return self._pair()[1]


_DESCRIPTORS = _Descriptors()
