"""Responses the balancer makes itself, byte for byte as an ALB's where captures exist (reference: 502, 503, 504).

The wording of the others follows the same server family's pages [inferred].
"""

from __future__ import annotations

from functools import lru_cache

_TITLES = {
    400: "400 Bad Request",
    405: "405 Not Allowed",
    408: "408 Request Time-out",
    429: "429 Too Many Requests",
    463: "463",
    501: "501 Not Implemented",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
    505: "505 HTTP Version Not Supported",
}


@lru_cache(maxsize=64)
def _page(status: int, server_header: bool, keep_alive: bool) -> tuple[bytes, bytes, bytes]:
    title = _TITLES[status]
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode()
    phrase = title[4:]
    server = "Server: awselb/2.0\r\n" if server_header else ""
    connection = "keep-alive" if keep_alive else "close"
    before = f"HTTP/1.1 {status} {phrase}\r\n{server}Date: ".encode()
    after = (f"\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: {connection}\r\n\r\n").encode()
    return before, after, body


def error_page(status: int, *, date: bytes, server_header: bool, keep_alive: bool, is_head: bool) -> bytes:
    """The whole response. No cookie: an ALB issues those only with a target's answer."""
    before, after, body = _page(status, server_header, keep_alive)
    return before + date + after + (b"" if is_head else body)
