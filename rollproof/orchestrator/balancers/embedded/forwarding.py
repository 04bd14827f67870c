"""The head a target gets for a client's request, and the head a client gets for a target's response.

Both are written anew from parsed fields, hop-by-hop fields left out. The rules are an ALB's:

    X-Forwarded-For, -Proto, -Port, Host   ALB-UG/x-forwarded-headers
    X-Amzn-Trace-Id                        ALB-UG/load-balancer-request-tracing
    Server                                 routing.http.response.server.enabled, API-ELB
"""

from __future__ import annotations

import re

from rollproof.core.settings import LoadBalancerSettings
from rollproof.orchestrator.balancers.embedded.heads import RequestHead, ResponseHead

_PORT = re.compile(rb":\d*$")
_HOSTS_KEPT = 256


class ForwardingRules:
    """What a load balancer's attributes make of heads. One a table; holds nothing of a request."""

    def __init__(self, settings: LoadBalancerSettings) -> None:
        self.scheme = "https" if settings.listener_protocol == "HTTPS" else "http"
        self.is_secure = self.scheme == "https"
        self.port = settings.listener_port
        self.server_header = settings.server_header
        self._xff_mode = settings.xff_mode
        self._xff_port = settings.xff_client_port
        self._preserve_host = settings.preserve_host_header
        self._proto_and_port = b"X-Forwarded-Proto: %b\r\nX-Forwarded-Port: %d\r\n" % (
            self.scheme.encode(),
            settings.listener_port,
        )
        self._hosts: dict[bytes, bytes] = {}

    def request_head(self, request: RequestHead, client: Address, trace_id: bytes) -> bytes:
        """The head for the target. `trace_id` is the whole value of X-Amzn-Trace-Id."""
        parts = [
            b"%b %b HTTP/1.1\r\n%b%bHost: %b\r\nX-Amzn-Trace-Id: %b"
            % (
                request.method,
                request.target,
                self._forwarded_for(request.xff, client),
                self._proto_and_port,
                self._host(request.host),
                trace_id,
            ),
            *request.fields,
        ]
        if request.content_length is not None:
            parts.append(b"Content-Length: %d" % request.content_length)
        elif request.is_chunked:
            parts.append(b"Transfer-Encoding: chunked")
        elif request.is_websocket:
            parts.append(b"Connection: Upgrade\r\nUpgrade: websocket")
        parts.append(b"\r\n")
        return b"\r\n".join(parts)

    def response_head(
        self, response: ResponseHead, cookies: bytes, *, length: bytes, keep_alive: bool, date: bytes
    ) -> bytes:
        """The head for the client. `length` is its framing field with CRLF, or nothing; `date` is for a target without.

        The fields keep the target's order behind Date and Connection; its own cookies come before the balancer's.
        """
        connection = b"keep-alive" if keep_alive else b"close"
        parts = [
            b"HTTP/1.1 %d %b\r\nDate: %b\r\n%bConnection: %b"
            % (response.status, response.reason, response.date or date, length, connection),
            *response.fields,
        ]
        if response.server is not None and self.server_header:
            parts.append(b"Server: " + response.server)
        for cookie in response.set_cookies:
            parts.append(b"Set-Cookie: " + cookie)
        parts.append(cookies + b"\r\n")
        return b"\r\n".join(parts)

    def upgrade_head(self, response: ResponseHead, cookies: bytes) -> bytes:
        """The 101 for the client."""
        head = self.response_head(response, cookies, length=b"", keep_alive=True, date=b"")
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b" % (response.upgrade or b"websocket")
        return head.replace(b"Date: \r\n", b"", 1).replace(b"Connection: keep-alive", upgrade, 1)

    def _forwarded_for(self, xff: bytes | None, client: Address) -> bytes:
        """append: the client's address behind what came; preserve: as it came; remove: nothing. API-ELB."""
        if self._xff_mode == "append":
            address = client.with_port if self._xff_port else client.ip
            return b"X-Forwarded-For: %b\r\n" % (b"%b, %b" % (xff, address) if xff else address)
        return b"X-Forwarded-For: %b\r\n" % xff if self._xff_mode == "preserve" and xff is not None else b""

    def _host(self, host: bytes | None) -> bytes:
        """Listener port 80 or 443: without any port. Other ports: with the listener's, if it has none."""
        host = host or b"localhost"
        if self._preserve_host:
            return host
        known = self._hosts.get(host)
        if known is None:
            if self.port in (80, 443):
                known = _PORT.sub(b"", host)
            else:
                known = host if _PORT.search(host) else b"%b:%d" % (host, self.port)
            if len(self._hosts) < _HOSTS_KEPT:
                self._hosts[host] = known
        return known


class Address:
    """The peer of a connection, as it stands in headers and in the log."""

    __slots__ = ("ip", "text", "with_port")

    def __init__(self, host: str, port: int) -> None:
        bracketed = f"[{host}]" if ":" in host else host
        self.ip = host.encode()
        self.text = f"{bracketed}:{port}"
        self.with_port = self.text.encode()


def traced(incoming: bytes | None, fresh: bytes) -> bytes:
    """X-Amzn-Trace-Id for the target. `fresh` is "1-<8 hex epoch>-<24 hex>".

    >>> traced(None, b"1-67891233-abcdef012345678912345678")
    b'Root=1-67891233-abcdef012345678912345678'
    >>> traced(b"Root=1-a-b;CalledFrom=app", b"1-c-d")
    b'Self=1-c-d;Root=1-a-b;CalledFrom=app'
    >>> traced(b"CalledFrom=app", b"1-c-d")
    b'Root=1-c-d;CalledFrom=app'
    """
    if not incoming:
        return b"Root=" + fresh
    kept = [p for p in (part.strip() for part in incoming.split(b";")) if p and not p.startswith(b"Self=")]
    label = b"Self=" if any(p.startswith(b"Root=") for p in kept) else b"Root="
    return b";".join([label + fresh, *kept])
