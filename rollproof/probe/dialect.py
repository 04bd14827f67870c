"""How a request looks in each protocol era: headers and params. Pure.

Legacy: MCP 2025-11-25, basic/transports (Streamable HTTP), basic/lifecycle.
Modern: MCP 2026-07-28, basic/transports/streamable-http: no session; the envelope travels in `_meta`, the routing
facts in `Mcp-Method` and `Mcp-Name` (SEP-2243).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollproof import __version__

LEGACY_VERSION = "2025-11-25"
MODERN_VERSION = "2026-07-28"
METHOD_NOT_FOUND = -32601
SESSION_HEADER = "Mcp-Session-Id"

CLIENT_INFO = {"name": "rollproof-probe", "version": __version__}
Message = dict[str, Any]

_PLAIN_HEADER = re.compile(r"[\x21-\x7E](?:[\x20-\x7E]*[\x21-\x7E])?")


class Dialect(Protocol):
    """One era's way to say a request."""

    @property
    def version(self) -> str: ...

    def headers(self, method: str, name: str, session_id: str) -> dict[str, str]: ...

    def params(self, params: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Legacy:
    """`version` is empty until initialize has negotiated one: the header is sent only after it."""

    version: str = ""

    def headers(self, method: str, name: str, session_id: str) -> dict[str, str]:  # noqa: ARG002
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if session_id and method != "initialize":
            headers[SESSION_HEADER] = session_id
        if self.version and method != "initialize":
            headers["MCP-Protocol-Version"] = self.version
        return headers

    def params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return dict(params)


@dataclass(frozen=True)
class Modern:
    """A session id in the header is no part of this era: servers may key their own state on it all the same."""

    version: str = MODERN_VERSION
    capabilities: Mapping[str, Any] = field(default_factory=dict)

    def headers(self, method: str, name: str, session_id: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": self.version,
            "Mcp-Method": method,
        }
        if name:
            headers["Mcp-Name"] = header_value(name)
        if session_id:
            headers[SESSION_HEADER] = session_id
        return headers

    def params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        envelope = {
            "io.modelcontextprotocol/protocolVersion": self.version,
            "io.modelcontextprotocol/clientCapabilities": dict(self.capabilities),
            "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
        }
        return {**params, "_meta": {**params.get("_meta", {}), **envelope}}


def header_value(value: str) -> str:
    """Printable ASCII as it is; anything else in the =?base64?...?= form of SEP-2243."""
    if _PLAIN_HEADER.fullmatch(value) and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def request(request_id: int, method: str, params: Mapping[str, Any]) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": dict(params)}


def notification(method: str) -> Message:
    return {"jsonrpc": "2.0", "method": method}


def initialize_params(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    return {"protocolVersion": LEGACY_VERSION, "capabilities": dict(capabilities), "clientInfo": CLIENT_INFO}
