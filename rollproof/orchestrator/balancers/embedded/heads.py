"""Reads request and response heads, strictly: llhttp (httptools) tokenises and validates, here are an ALB's limits.

A head is parsed in one piece, once its empty line has come; bodies never go through llhttp (see `framing`). What
comes out is lists of fields, never bytes to be passed on as they are: the forwarded head is written anew from
them, so that nothing a target would read differently can reach it.

llhttp 9 already refuses bare LF, folded lines, space before the colon, control characters, NUL, repeated or
malformed Content-Length, and Content-Length together with Transfer-Encoding.
Differs from AWS: an ALB in its default "defensive" desync mode still forwards some *ambiguous* requests (both lengths
present, say) and then closes; here they are all refused, as in its "strictest" mode. ALB-UG/desync-mitigation.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

REQUEST_LINE_MAX = 16 * 1024
HEADER_LINE_MAX = 16 * 1024
REQUEST_HEAD_MAX = 64 * 1024
RESPONSE_HEAD_MAX = 32 * 1024
XFF_ADDRESSES_MAX = 30
"""ALB-UG/load-balancer-limits, ALB-UG/load-balancer-troubleshooting (400, 463, 502)."""

_REQUEST_FIELDS = frozenset(
    {
        *(b"host", b"cookie", b"user-agent", b"content-length", b"transfer-encoding", b"connection", b"expect"),
        *(b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-amzn-trace-id"),
    }
)
_RESPONSE_FIELDS = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"),
        *(b"te", b"trailer", b"upgrade", b"date", b"server", b"set-cookie"),
    }
)
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_TARGET = re.compile(rb"/[\x21\x23-\x7e]*|\*")  # origin form or asterisk; no quote, no space, nothing outside ASCII
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_PLAIN = (b"", b"keep-alive", b"close")  # values of Connection that name no other field
_VERSIONS = (b" HTTP/1.1", b" HTTP/1.0")
_ANY_VERSION = re.compile(rb" HTTP/\d(?:\.\d)?$")


class Malformed(Exception):
    """A head that is refused. `status` is what the client gets, `reason` AWS's classification reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason = status, reason


class RequestHead:
    """One request's head. llhttp calls `on_url` and `on_header`; `parse_request` fills in the rest."""

    method = b""
    target = b""
    host: bytes | None = None
    cookie: bytes | None = None
    user_agent: bytes | None = None
    xff: bytes | None = None
    trace_id: bytes | None = None
    content_length: int | None = None
    is_chunked = False
    is_http10 = False
    wants_close = False
    wants_keep_alive = False
    expects_continue = False
    upgrade: bytes | None = None
    wants_upgrade = False
    is_whole = False  # llhttp has read it to its end
    size = 0

    def __init__(self) -> None:
        self.fields: list[bytes] = []  # "Name: value" of the fields that are only passed on
        self.special: list[tuple[bytes, bytes]] = []
        self.nominated: list[bytes] = []  # further fields that Connection names: not to be passed on

    @property
    def keeps_alive(self) -> bool:
        """Whether the client's connection may carry another request."""
        return self.wants_keep_alive if self.is_http10 else not self.wants_close

    @property
    def is_websocket(self) -> bool:
        """The one upgrade an ALB passes on; h2c and others are answered as if not asked for. ALB-UG/listeners."""
        return (
            self.wants_upgrade
            and self.upgrade is not None
            and self.upgrade.lower() == b"websocket"
            and self.method == b"GET"
            and not self.is_http10
            and not self.is_chunked
            and not self.content_length
        )

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        self.is_whole = True

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in _REQUEST_FIELDS:
            self.special.append((lowered, value))
        else:
            self.fields.append(b"%b: %b" % (name, value))


def parse_request(head: bytes) -> RequestHead:
    """The request of `head`, which ends with its empty line. Raises Malformed."""
    line_end = head.find(b"\r\n")
    _check_limits(head, line_end)
    request = RequestHead()
    request.size = len(head)
    parser = HttpRequestParser(request)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        if not request.is_whole:  # else it is only about the last transfer coding, which `_digest` judges
            raise Malformed(*_why(head[:line_end], error)) from None
    request.method = parser.get_method()
    if head[line_end - 9 : line_end] not in _VERSIONS:  # RTSP, ICE, HTTP/0.9 and 2.0, which llhttp knows too
        raise Malformed(505, "BadVersion")
    request.is_http10 = head[line_end - 1] == 0x30
    _digest(request)
    return request


def _check_limits(head: bytes, line_end: int) -> None:
    if len(head) <= REQUEST_LINE_MAX:
        return
    if len(head) > REQUEST_HEAD_MAX:
        raise Malformed(400, "HeadTooLarge")
    if line_end > REQUEST_LINE_MAX:
        raise Malformed(400, "BadUri")
    if any(len(line) > HEADER_LINE_MAX for line in head.split(b"\r\n")):
        raise Malformed(400, "BadHeader")


def _why(line: bytes, error: HttpParserError) -> tuple[int, str]:
    text = str(error)
    if "`Transfer-Encoding`" in text:
        return 501, "BadTransferEncoding"
    version = _ANY_VERSION.search(line)
    if version is not None and version[0] not in _VERSIONS:
        return 505, "BadVersion"
    for sign, reason in _REASONS:
        if sign in text:
            return 400, reason
    return 400, "NonCompliantHeader"


_REASONS = (
    ("can't be present with", "BothTeClPresent"),
    ("Duplicate Content-Length", "DuplicateContentLength"),
    ("Content-Length", "BadContentLength"),
    ("nvalid method", "BadMethod"),
    ("url", "BadUri"),
    ("Expected HTTP/", "SpaceInUri"),
    ("version", "BadVersion"),
    ("header token", "BadHeader"),
    ("header value", "BadHeader"),
)
"""What llhttp says -> AWS's classification reason. ALB-UG/load-balancer-access-logs."""


def _digest(request: RequestHead) -> None:
    """Fills in what the special fields mean. Raises Malformed."""
    for name, raw in request.special:
        value = raw.rstrip(b" \t")
        if name == b"host":
            if request.host is not None:
                raise Malformed(400, "BadHeader")
            request.host = value
        elif name == b"user-agent":
            request.user_agent = value
            request.fields.append(b"User-Agent: " + value)
        elif name == b"cookie":
            request.fields.append(b"Cookie: " + value)
            request.cookie = value if request.cookie is None else request.cookie + b"; " + value
        elif name == b"content-length":
            request.content_length = _length(value)
        elif name == b"connection":
            _read_connection(request, value)
        elif name == b"x-forwarded-for":
            request.xff = value if request.xff is None else request.xff + b", " + value
        elif name == b"x-amzn-trace-id":
            request.trace_id = value
        elif name == b"transfer-encoding":
            _read_transfer_encoding(request, value)
        elif name == b"expect":
            request.expects_continue = value.lower() == b"100-continue"
        elif name == b"upgrade":
            request.upgrade = value
    _check(request)


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise Malformed(400, "BadContentLength")
    return int(value)


def _read_connection(request: RequestHead, value: bytes) -> None:
    for token in (part.strip(b" \t") for part in value.lower().split(b",")):
        if token == b"close":
            request.wants_close = True
        elif token == b"keep-alive":
            request.wants_keep_alive = True
        elif token == b"upgrade":
            request.wants_upgrade = True
        elif token and token not in _REQUEST_FIELDS:
            request.nominated.append(token)


def _read_transfer_encoding(request: RequestHead, value: bytes) -> None:
    """chunked or identity; anything else is 501. ALB-UG/load-balancer-troubleshooting."""
    coding = value.lower()
    if request.is_chunked or (request.is_http10 and coding == b"chunked"):
        raise Malformed(400, "BadTransferEncoding")
    if coding == b"chunked":
        request.is_chunked = True
    elif coding != b"identity":
        raise Malformed(501, "BadTransferEncoding")


def _check(request: RequestHead) -> None:
    if request.method == b"TRACE":
        raise Malformed(405, "BadMethod")
    if request.is_chunked and request.content_length is not None:
        raise Malformed(400, "BothTeClPresent")
    absolute = _ABSOLUTE.fullmatch(request.target) if request.target[:1] != b"/" else None
    if absolute is not None:  # RFC 9112, 3.2.2: its authority counts, not the Host field
        request.host = absolute[1]
        request.target = absolute[2] if absolute[2][:1] == b"/" else b"/" + absolute[2]
    if _TARGET.fullmatch(request.target) is None or (request.target == b"*" and request.method != b"OPTIONS"):
        raise Malformed(400, "BadUri")
    if request.host is None and not request.is_http10:
        raise Malformed(400, "BadHeader")
    if request.host is not None and _HOST.fullmatch(request.host) is None:
        raise Malformed(400, "BadHeader")
    if request.xff is not None and request.xff.count(b",") >= XFF_ADDRESSES_MAX:
        raise Malformed(463, "-")
    if request.nominated:
        nominated = tuple(name + b":" for name in request.nominated)
        request.fields = [f for f in request.fields if not f.lower().startswith(nominated)]


class ResponseHead:
    """One response's head, as `RequestHead`."""

    status = 0
    reason = b""
    content_length: int | None = None
    is_chunked = False
    keeps_alive = True
    date: bytes | None = None
    server: bytes | None = None
    upgrade: bytes | None = None

    def __init__(self) -> None:
        self.fields: list[bytes] = []
        self.special: list[tuple[bytes, bytes]] = []
        self.set_cookies: list[bytes] = []

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered in _RESPONSE_FIELDS:
            self.special.append((lowered, value))
        else:
            self.fields.append(b"%b: %b" % (name, value))


def parse_response(head: bytes) -> ResponseHead:
    """The response of `head`, which ends with its empty line. Raises Malformed (502)."""
    response = ResponseHead()
    if len(head) > RESPONSE_HEAD_MAX:
        raise Malformed(502, "ResponseHeadTooLarge")
    if not head.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
        raise Malformed(502, "MalformedResponse")
    parser = HttpResponseParser(response)
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        raise Malformed(502, "MalformedResponse") from None
    response.status = parser.get_status_code()
    if response.status < 100 or (response.reason and _REASON.fullmatch(response.reason) is None):
        raise Malformed(502, "MalformedResponse")
    _digest_response(response, is_http10=head[7] == 0x30)
    return response


def _digest_response(response: ResponseHead, *, is_http10: bool) -> None:
    connection = b""
    for name, raw in response.special:
        value = raw.rstrip(b" \t")
        if name == b"content-length":
            response.content_length = int(value)
        elif name == b"set-cookie":
            response.set_cookies.append(value)
        elif name == b"date":
            response.date = value
        elif name == b"server":
            response.server = value
        elif name == b"connection":
            connection = connection + b"," + value.lower() if connection else value.lower()
        elif name == b"upgrade":
            response.upgrade = value
        elif name == b"transfer-encoding" and value.lower() == b"chunked" and not response.is_chunked:
            response.is_chunked = True
        elif name == b"transfer-encoding" and value.lower() != b"identity":
            raise Malformed(502, "MalformedResponse")
    if connection in _PLAIN:
        response.keeps_alive = connection == b"keep-alive" if is_http10 else connection != b"close"
        return
    tokens = [token.strip(b" \t") for token in connection.split(b",")]
    response.keeps_alive = b"keep-alive" in tokens if is_http10 else b"close" not in tokens
    nominated = tuple(t + b":" for t in tokens if t and t not in _RESPONSE_FIELDS and t != b"close")
    response.fields = [f for f in response.fields if not f.lower().startswith(nominated)]
