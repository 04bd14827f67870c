"""Both eras' requests, header by header."""

from __future__ import annotations

import pytest

from rollproof.probe.dialect import Legacy, Modern, header_value

BOTH = "application/json, text/event-stream"


def test_legacy_initialize_carries_neither_session_nor_version() -> None:
    headers = Legacy("2025-11-25").headers("initialize", "", "abc")
    assert headers == {"Accept": BOTH, "Content-Type": "application/json"}


def test_legacy_calls_carry_both() -> None:
    headers = Legacy("2025-06-18").headers("tools/call", "ping", "abc")
    assert headers["Mcp-Session-Id"] == "abc"
    assert headers["MCP-Protocol-Version"] == "2025-06-18"


def test_modern_calls_carry_the_envelope_and_the_routing_headers() -> None:
    modern = Modern()
    assert modern.headers("tools/call", "ping", "") == {
        "Accept": BOTH,
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "ping",
    }
    params = modern.params({"name": "ping", "_meta": {"progressToken": 4}})
    assert params["_meta"]["progressToken"] == 4
    assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert params["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("ping", "ping"),
        ("two words", "two words"),
        ("é", "=?base64?w6k=?="),
        (" edge", "=?base64?IGVkZ2U=?="),
        ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
    ],
)
def test_a_name_survives_the_header(name: str, sent: str) -> None:
    assert header_value(name) == sent
