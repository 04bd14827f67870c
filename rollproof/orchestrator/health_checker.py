"""One health check of one target, as one ALB node makes it: real HTTP, nothing decided.

ALB-UG/target-group-health-checks and ALB-UG/load-balancer-troubleshooting: a GET over HTTP/1.1 with
`User-Agent: ELB-HealthChecker/2.0` and `Host: <target ip>:<port>`, on a connection of its own that is closed
afterwards; the Accept-Encoding is [observed]. Redirects are not followed: a 3xx is the answer. Which statuses
are healthy, and when to check, is the core's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from urllib.parse import quote

from rollproof.core.events import HealthCheckAnswered
from rollproof.core.settings import HealthCheck

USER_AGENT = "ELB-HealthChecker/2.0"
HEAD_LIMIT = 32 * 1024  # the ALB's limit on a response's headers. ALB-UG/load-balancer-troubleshooting (502)
BODY_LIMIT = 64 * 1024  # read so that the target is not cut off in mid-sentence; then closed anyway

BODY_PATIENCE_S = 0.25

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r\n")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)


class HealthChecker:
    """Keeps nothing between checks; any number may run at once."""

    async def check(self, node: str, target_id: str, address: str, health_check: HealthCheck) -> HealthCheckAnswered:
        """Ask `address` (host:port). Never raises: no connection, or no HTTP, is an answer, too.

        `failure` is "timeout" (Target.Timeout) when `timeout_s` passes before the headers are complete,
        "connection" (Target.FailedHealthChecks) when refused, reset or not HTTP.
        """
        try:
            async with asyncio.timeout(health_check.timeout_s):
                status = await _ask(address, health_check.path)
        except TimeoutError:
            return HealthCheckAnswered(node, target_id, None, "timeout")
        except (OSError, ValueError, OverflowError, EOFError, asyncio.LimitOverrunError):
            return HealthCheckAnswered(node, target_id, None, "connection")
        return HealthCheckAnswered(node, target_id, status)


async def _ask(address: str, path: str) -> int:
    """The final status. Raises OSError, EOFError (closed early), ValueError (not HTTP) or LimitOverrunError."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=HEAD_LIMIT)
    try:
        writer.write(_request(address, path))
        status, head = 100, b""
        while status < 200:  # interim answers
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head)
        with contextlib.suppress(TimeoutError, OSError):
            await _drain(reader, head)
        return status
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _request(address: str, path: str) -> bytes:
    target = quote(path, safe="/?#[]@!$&'()*+,;=:%~")
    lines = (
        f"GET {target or '/'} HTTP/1.1",
        f"Host: {address}",
        f"User-Agent: {USER_AGENT}",
        "Connection: close",
        "Accept-Encoding: gzip, compressed",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _status(head: bytes) -> int:
    matched = _STATUS_LINE.match(head)
    if matched is None:
        raise ValueError("not an HTTP/1 response")
    return int(matched[1])


async def _drain(reader: asyncio.StreamReader, head: bytes) -> None:
    """The body is of no interest; an endless one is left after BODY_LIMIT or a moment without news."""
    length = _CONTENT_LENGTH.search(head)
    left = min(int(length[1]), BODY_LIMIT) if length else BODY_LIMIT
    while left > 0:
        async with asyncio.timeout(BODY_PATIENCE_S):
            chunk = await reader.read(left)
        if not chunk:
            return
        left -= len(chunk)
