"""What the embedded balancer reads and writes, without any connection: heads, framings, pages, headers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollproof.core.settings import LoadBalancerSettings
from rollproof.orchestrator.balancers.embedded.forwarding import Address, ForwardingRules, traced
from rollproof.orchestrator.balancers.embedded.framing import BadFraming, Chunked, FixedLength, NoBody, as_chunk
from rollproof.orchestrator.balancers.embedded.heads import Malformed, parse_request, parse_response
from rollproof.orchestrator.balancers.embedded.pages import error_page

CLIENT = Address("10.1.2.3", 40000)
STRICT = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ (?:/[\x21-\x7e]*|\*) HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)+\r\n"
)


def head(*lines: str, first: str = "GET / HTTP/1.1", host: str = "Host: lb.example") -> bytes:
    return "\r\n".join([first, *([host] if host else []), *lines, "", ""]).encode("latin-1")


def forwarded(request: bytes, **changes: Any) -> list[str]:
    """The lines a target gets."""
    rules = ForwardingRules(LoadBalancerSettings(**changes))
    return rules.request_head(parse_request(request), CLIENT, b"Root=1-a-b").decode("latin-1").split("\r\n")


# --- what is refused --------------------------------------------------------------------------------

BIG = "x" * 16 * 1024
REFUSED = {
    "bare_lf_everywhere": (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400, "BadVersion"),
    "bare_lf_after_a_header": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "BadHeader"),
    "bare_cr": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "BadHeader"),
    "folded_header": (head("X: a", " b"), 400, "BadHeader"),
    "space_before_the_first_header": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "NonCompliantHeader"),
    "space_before_the_colon": (head("X : a"), 400, "BadHeader"),
    "no_colon": (head("nonsense"), 400, "BadHeader"),
    "empty_name": (head(": a"), 400, "BadHeader"),
    "nul_in_value": (head("X: a\0b"), 400, "BadHeader"),
    "nul_in_name": (head("X\0: a"), 400, "BadHeader"),
    "control_in_value": (head("X: a\x01b"), 400, "BadHeader"),
    "high_byte_in_name": (head("X\xff: a"), 400, "BadHeader"),
    "two_lengths": (head("Content-Length: 3", "Content-Length: 4"), 400, "DuplicateContentLength"),
    "the_same_length_twice": (head("Content-Length: 3", "Content-Length: 3"), 400, "DuplicateContentLength"),
    "list_of_lengths": (head("Content-Length: 3, 3"), 400, "BadContentLength"),
    "signed_length": (head("Content-Length: +3"), 400, "BadContentLength"),
    "hexadecimal_length": (head("Content-Length: 0x3"), 400, "BadContentLength"),
    "empty_length": (head("Content-Length: "), 400, "BadContentLength"),
    "endless_length": (head("Content-Length: 9" + "9" * 30), 400, "BadContentLength"),
    "length_beyond_any_body": (head("Content-Length: 9999999999999999999"), 400, "BadContentLength"),
    "length_then_chunked": (head("Content-Length: 3", "Transfer-Encoding: chunked"), 400, "BothTeClPresent"),
    "chunked_then_length": (head("Transfer-Encoding: chunked", "Content-Length: 3"), 400, "BothTeClPresent"),
    "identity_and_length": (head("Transfer-Encoding: identity", "Content-Length: 3"), 400, "BothTeClPresent"),
    "chunked_twice": (
        head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        501,
        "BadTransferEncoding",
    ),
    "chunked_of_http_1_0": (head("Transfer-Encoding: chunked", first="POST / HTTP/1.0"), 400, "BadTransferEncoding"),
    "gzip": (head("Transfer-Encoding: gzip"), 501, "BadTransferEncoding"),
    "gzip_then_chunked": (head("Transfer-Encoding: gzip, chunked"), 501, "BadTransferEncoding"),
    "chunked_then_gzip": (head("Transfer-Encoding: chunked, gzip"), 501, "BadTransferEncoding"),
    "xchunked": (head("Transfer-Encoding: xchunked"), 501, "BadTransferEncoding"),
    "quoted_chunked": (head('Transfer-Encoding: "chunked"'), 501, "BadTransferEncoding"),
    "vertical_tab_before_chunked": (head("Transfer-Encoding:\x0bchunked"), 400, "BadHeader"),
    "no_host": (head(host=""), 400, "BadHeader"),
    "two_hosts": (head("Host: b"), 400, "BadHeader"),
    "host_with_a_slash": (head(host="Host: a/b"), 400, "BadHeader"),
    "host_with_a_user": (head(host="Host: u@b"), 400, "BadHeader"),
    "host_with_a_comma_space": (head(host="Host: a, b"), 400, "BadHeader"),
    "empty_host": (head(host="Host: "), 400, "BadHeader"),
    "space_in_the_path": (head(first="GET /a b HTTP/1.1"), 400, "SpaceInUri"),
    "tab_in_the_path": (head(first="GET /a\tb HTTP/1.1"), 400, "BadUri"),
    "high_byte_in_the_path": (head(first="GET /\xe4 HTTP/1.1"), 400, "BadUri"),
    "quote_in_the_path": (head(first='GET /a"b HTTP/1.1'), 400, "BadUri"),
    "relative_path": (head(first="GET a HTTP/1.1"), 400, "BadUri"),
    "asterisk_without_options": (head(first="GET * HTTP/1.1"), 400, "BadUri"),
    "absolute_form_without_host": (head(first="GET http:/// HTTP/1.1"), 400, "BadUri"),
    "connect": (head(first="CONNECT a:80 HTTP/1.1"), 400, "BadUri"),
    "lower_case_method": (head(first="get / HTTP/1.1"), 400, "BadMethod"),
    "unknown_method": (head(first="STEAL / HTTP/1.1"), 400, "BadMethod"),
    "trace": (head(first="TRACE / HTTP/1.1"), 405, "BadMethod"),
    "http_0_9": (b"GET /\r\n\r\n", 505, "BadVersion"),
    "http_1_2": (head(first="GET / HTTP/1.2"), 505, "BadVersion"),
    "http_2_preface": (b"PRI * HTTP/2.0\r\n\r\n", 505, "BadVersion"),
    "rtsp": (head(first="SETUP / RTSP/1.0"), 505, "BadVersion"),
    "space_behind_the_version": (head(first="GET / HTTP/1.1 "), 400, "BadVersion"),
    "31_forwarded_addresses": (head("X-Forwarded-For: " + ", ".join(["10.0.0.1"] * 31)), 463, "-"),
    "long_request_line": (head(first=f"GET /{BIG} HTTP/1.1"), 400, "BadUri"),
    "long_header": (head(f"X: {BIG}"), 400, "BadHeader"),
    "long_head": (head(*[f"X{n}: {BIG[:15_000]}" for n in range(5)]), 400, "HeadTooLarge"),
    "many_headers_in_all_too_long": (head(*["A: " + "b" * 60] * 1100), 400, "HeadTooLarge"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_that_targets_might_read_differently_is_refused(case: str) -> None:
    data, status, reason = REFUSED[case]
    with pytest.raises(Malformed) as refused:
        parse_request(data)
    assert (refused.value.status, refused.value.reason) == (status, reason)


ACCEPTED = {
    "30_forwarded_addresses": head("X-Forwarded-For: " + ", ".join(["10.0.0.1"] * 30)),
    "request_line_of_16k": head(first=f"GET /{BIG[:16_300]} HTTP/1.1"),
    "header_of_16k": head(f"X: {BIG[:16_300]}"),
    "head_of_63k": head(*[f"X{n}: {BIG[:15_700]}" for n in range(4)]),
    "identity": head("Transfer-Encoding: identity"),
    "asterisk": head(first="OPTIONS * HTTP/1.1"),
    "http_1_0_without_host": head(first="GET / HTTP/1.0", host=""),
    "ipv6_host": head(host="Host: [::1]:8080"),
    "two_spaces_before_the_path": head(first="GET  / HTTP/1.1"),
    "high_bytes_in_a_value": head("X: \xe4\xff"),
    "webdav": head(first="PROPFIND / HTTP/1.1"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_allowed_is_forwarded_strictly(case: str) -> None:
    assert STRICT.fullmatch("\r\n".join(forwarded(ACCEPTED[case])).encode("latin-1"))


PIECES = st.sampled_from(
    [
        *(
            b"GET",
            b"POST",
            b" ",
            b"/",
            b"/x",
            b"*",
            b"http://h/",
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
        ),
        *(b"Host: a", b"Host", b":", b"Content-Length: 3", b"Content-Length:", b"Transfer-Encoding: chunked", b"\0"),
        *(b"Connection: ", b"close", b"upgrade", b"Upgrade: websocket", b"X-Forwarded-For: 1.2.3.4", b",", b";", b"\r"),
        *(b"Expect: 100-continue", b"Cookie: AWSALB=", b"X-Amzn-Trace-Id: Root=1", b"TE: trailers", b"gzip", b"\x0b"),
        *(b"identity", b"\xff", b"\t"),
    ]
)


@pytest.mark.fidelity("ALB-HTTP-5", source="ALB-UG/load-balancer-target-groups", mark="doc")
@settings(max_examples=400)
@given(st.lists(PIECES, max_size=25).map(b"".join) | st.binary(max_size=60))
def test_any_bytes_are_refused_or_forwarded_strictly(data: bytes) -> None:
    try:
        request = parse_request(data[: data.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in data else data + b"\r\n\r\n")
    except Malformed:
        return
    sent = ForwardingRules(LoadBalancerSettings()).request_head(request, CLIENT, traced(request.trace_id, b"1-a-b"))
    assert STRICT.fullmatch(sent)
    names = [line.partition(b":")[0].lower() for line in sent.split(b"\r\n")[1:-2]]
    assert all(names.count(name) <= 1 for name in (b"host", b"content-length", b"transfer-encoding"))
    assert not {b"content-length", b"transfer-encoding"} <= set(names)


# --- what a target gets -------------------------------------------------------------------------------


@pytest.mark.fidelity("ALB-HTTP-1", source="ALB-UG/x-forwarded-headers", mark="doc")
@pytest.mark.parametrize(
    ("came", "changes", "expected"),
    [
        ("", {}, "X-Forwarded-For: 10.1.2.3"),
        ("1.1.1.1", {}, "X-Forwarded-For: 1.1.1.1, 10.1.2.3"),
        ("1.1.1.1", {"xff_client_port": True}, "X-Forwarded-For: 1.1.1.1, 10.1.2.3:40000"),
        ("1.1.1.1", {"xff_mode": "preserve"}, "X-Forwarded-For: 1.1.1.1"),
        ("", {"xff_mode": "preserve"}, None),
        ("1.1.1.1", {"xff_mode": "remove"}, None),
    ],
)
def test_x_forwarded_for(came: str, changes: dict[str, Any], expected: str | None) -> None:
    lines = forwarded(head(*([f"X-Forwarded-For: {came}"] if came else [])), **changes)
    assert [line for line in lines if line.startswith("X-Forwarded-For")] == ([expected] if expected else [])


@pytest.mark.fidelity("ALB-HTTP-2", source="ALB-UG/x-forwarded-headers", mark="doc")
def test_several_forwarded_fields_become_one_and_a_client_cannot_name_proto_or_port() -> None:
    lines = forwarded(
        head("X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1"),
        listener_port=8080,
    )
    assert lines[1:4] == [
        "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.1.2.3",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 8080",
    ]
    assert len([line for line in lines if line.lower().startswith("x-forwarded")]) == 3


@pytest.mark.fidelity("ALB-HTTP-4", source="ALB-UG/x-forwarded-headers", mark="doc")
@pytest.mark.parametrize(
    ("host", "changes", "expected"),
    [
        ("lb.example:8080", {}, "lb.example"),
        ("lb.example", {"listener_port": 443}, "lb.example"),
        ("[::1]:8080", {}, "[::1]"),
        ("[::1]", {}, "[::1]"),
        ("lb.example", {"listener_port": 8080}, "lb.example:8080"),
        ("lb.example:9", {"listener_port": 8080}, "lb.example:9"),
        ("lb.example:8080", {"preserve_host_header": True}, "lb.example:8080"),
    ],
)
def test_the_port_of_the_host_header(host: str, changes: dict[str, Any], expected: str) -> None:
    assert f"Host: {expected}" in forwarded(head(host=f"Host: {host}"), **changes)


def test_the_absolute_form_wins_over_the_host_header() -> None:
    lines = forwarded(head(first="GET http://other.example/p?q HTTP/1.1"))
    assert lines[0] == "GET /p?q HTTP/1.1"
    assert "Host: other.example" in lines


def test_hop_by_hop_fields_and_those_connection_names_stay_here() -> None:
    lines = forwarded(
        head("Connection: keep-alive, X-Secret", "Keep-Alive: 5", "Proxy-Connection: x", "TE: trailers", "X-Secret: 1",
             "X-Secrets: 2", "Trailer: x", "Upgrade: h2c", "HTTP2-Settings: AAA", "Expect: 100-continue", "Accept: */*")
    )  # fmt: skip
    assert lines[6:] == ["X-Secrets: 2", "Accept: */*", "", ""]


def test_only_a_websocket_upgrade_is_passed_on() -> None:
    upgrade = ("Connection: keep-alive, Upgrade", "Sec-WebSocket-Key: k")
    assert "Upgrade: websocket" in forwarded(head(*upgrade, "Upgrade: WebSocket"))
    for lines in (
        forwarded(head(*upgrade, "Upgrade: h2c")),
        forwarded(head("Upgrade: websocket")),
        forwarded(head(*upgrade, "Upgrade: websocket", first="POST / HTTP/1.1")),
        forwarded(head(*upgrade, "Upgrade: websocket", "Content-Length: 5")),
    ):
        assert not any(line.startswith(("Upgrade", "Connection")) for line in lines)


def test_cookies_agent_and_unknown_fields_pass_as_they_came() -> None:
    lines = forwarded(head("Cookie: AWSALB=x; a=b", "User-Agent: probe/1", "mcp-SESSION-id: s", "X-Empty:"))
    assert {"Cookie: AWSALB=x; a=b", "User-Agent: probe/1", "mcp-SESSION-id: s", "X-Empty: "} <= set(lines)


@pytest.mark.fidelity("ALB-HTTP-3", source="ALB-UG/load-balancer-request-tracing", mark="doc")
@pytest.mark.parametrize(
    ("incoming", "expected"),
    [
        (None, b"Root=1-c-d"),
        (b"", b"Root=1-c-d"),
        (b"Root=1-a-b", b"Self=1-c-d;Root=1-a-b"),
        (b"Root=1-a-b;CalledFrom=app", b"Self=1-c-d;Root=1-a-b;CalledFrom=app"),
        (b"Self=1-x-y; Root=1-a-b", b"Self=1-c-d;Root=1-a-b"),
        (b"CalledFrom=app", b"Root=1-c-d;CalledFrom=app"),
    ],
)
def test_the_trace_id(incoming: bytes | None, expected: bytes) -> None:
    assert traced(incoming, b"1-c-d") == expected


# --- what a client gets -------------------------------------------------------------------------------


def to_client(response: bytes, **changes: Any) -> list[str]:
    rules = ForwardingRules(LoadBalancerSettings(**changes))
    head = rules.response_head(
        parse_response(response), b"Set-Cookie: LB=1\r\n", length=b"", keep_alive=True, date=b"today"
    )
    return head.decode("latin-1").split("\r\n")


def test_a_response_keeps_its_fields_and_loses_the_targets_connection() -> None:
    lines = to_client(
        b"HTTP/1.0 201 Made It\r\nServer: uvicorn\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Set-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\n\r\n"
    )
    assert lines == [
        *("HTTP/1.1 201 Made It", "Date: today", "Connection: keep-alive", "X-One: 1", "Server: uvicorn"),
        *("Set-Cookie: a=1", "Set-Cookie: b=2", "Set-Cookie: LB=1", "", ""),
    ]


def test_the_targets_date_stays_and_the_server_header_can_be_switched_off() -> None:
    lines = to_client(b"HTTP/1.1 200 OK\r\nDate: then\r\nServer: x\r\n\r\n", server_header=False)
    assert lines[1] == "Date: then"
    assert not any(line.startswith("Server") for line in lines)


@pytest.mark.fidelity("ALB-HTTP-15", source="ALB-UG/load-balancer-troubleshooting", mark="doc")
@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another_protocol"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="another_version"),
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="status_below_100"),
        pytest.param(b"HTTP/1.1 1000 High\r\n\r\n", id="status_of_four_digits"),
        pytest.param(b"HTTP/1.1 200 O\x01K\r\n\r\n", id="control_in_the_reason"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two_lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="both"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", id="bare_lf"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 33 * 1024 + b"\r\n\r\n", id="33_kib"),
    ],
)
def test_a_malformed_response_is_502(response: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse_response(response)
    assert refused.value.status == 502


@given(st.binary(max_size=80))
def test_any_response_bytes_are_read_or_refused(data: bytes) -> None:
    for response in (data, b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n"):
        try:
            parse_response(response)
        except Malformed:
            continue


@pytest.mark.fidelity("ALB-HTTP-7", source="CAPTURES; API-ELB ListenerAttribute", mark="observed")
@pytest.mark.parametrize(("status", "length"), [(400, 122), (502, 122), (503, 162), (504, 132)])
def test_error_pages_have_the_length_of_the_real_ones(status: int, length: int) -> None:
    page = error_page(status, date=b"now", server_header=True, keep_alive=True, is_head=False)
    before, body = page.split(b"\r\n\r\n", 1)
    assert len(body) == length
    assert body.startswith(b"<html>\r\n<head><title>%d " % status)
    assert body.endswith(b"</html>\r\n")
    assert b"\r\nServer: awselb/2.0\r\nDate: now\r\nContent-Type: text/html\r\n" in before
    assert before.endswith(b"Content-Length: %d\r\nConnection: keep-alive" % length)


@pytest.mark.fidelity("ALB-HTTP-7", source="CAPTURES; API-ELB ListenerAttribute", mark="observed")
def test_an_error_page_without_server_header_and_without_body() -> None:
    page = error_page(502, date=b"now", server_header=False, keep_alive=False, is_head=True)
    assert b"Server" not in page
    assert page.endswith(b"Content-Length: 122\r\nConnection: close\r\n\r\n")


# --- where bodies end -----------------------------------------------------------------------------------


@st.composite
def split_bodies(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """A chunked body, and the same bytes cut anywhere."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=6))
    extension, trailer = draw(st.sampled_from([b"", b";a=b", b" ; x"])), draw(st.sampled_from([b"", b"T: 1\r\n"]))
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks) + b"0\r\n" + trailer + b"\r\nNEXT"
    cuts = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    return chunks, [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


@given(split_bodies())
def test_a_chunked_body_is_the_same_however_it_comes(body: tuple[list[bytes], list[bytes]]) -> None:
    chunks, pieces = body
    framing, payload, rest = Chunked(), b"", b""
    for piece in pieces:
        if framing.is_complete:
            rest += piece
        else:
            payload += framing.feed(piece)
            rest += framing.rest
    assert (framing.is_complete, payload, rest) == (True, b"".join(chunks), b"NEXT")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"x\r\n", id="no_number"),
        pytest.param(b"\r\n", id="nothing"),
        pytest.param(b"-1\r\n", id="negative"),
        pytest.param(b"0x5\r\n", id="prefix"),
        pytest.param(b"5 \r\n", id="space_behind"),
        pytest.param(b"f" * 16 + b"\r\n", id="too_large"),
        pytest.param(b"1\nx", id="bare_lf"),
        pytest.param(b"1\r\nxy\r\n", id="longer_than_its_size"),
        pytest.param(b"1\r\nx\n", id="bare_lf_behind_the_data"),
        pytest.param(b"1\r\nxX", id="no_crlf_behind_the_data"),
        pytest.param(b"1;\x00\r\n", id="control_in_an_extension"),
        pytest.param(b"1;" + b"x" * 5000 + b"\r\n", id="endless_extension"),
        pytest.param(b"1;" + b"x" * 5000, id="endless_half_a_line"),
        pytest.param(b"0\r\nno trailer\r\n", id="malformed_trailer"),
        pytest.param(b"0\r\n" + b"T: x\r\n" * 5000, id="endless_trailers"),
    ],
)
def test_chunks_that_are_none_are_an_error(data: bytes) -> None:
    with pytest.raises(BadFraming):
        Chunked().feed(data)


@given(st.binary(max_size=200), st.integers(1, 60))
def test_a_body_of_fixed_length_ends_where_it_says(data: bytes, length: int) -> None:
    framing = FixedLength(length)
    assert framing.feed(data) == data[:length]
    assert (framing.is_complete, framing.rest) == (len(data) >= length, data[length:])


def test_where_there_is_no_body_everything_belongs_to_what_follows() -> None:
    framing = NoBody()
    assert (framing.feed(b"next"), framing.rest) == (b"", b"next")
    assert as_chunk(b"") == b""
