"""Which MCP session has which instance, where a platform routes by Mcp-Session-Id (core/platforms.py: AgentCore).

A session is bound to the instance that its first request fell on: by the id that the client brings, or by the one in
the first response, which is the server's or, where it gives none, made here. A binding ends with a DELETE that the
server grants, after the idle timeout, and at the end of the session's life; what comes then with its id gets another
instance, as at AgentCore. It lives in this process only.
AGENTCORE-DG/runtime-mcp-protocol-contract, AGENTCORE-DG/runtime-lifecycle-settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from rollproof.core.settings import PlatformSettings

if TYPE_CHECKING:
    from rollproof.orchestrator.balancers.embedded.heads import RequestHead, ResponseHead

SESSION_ID = b"mcp-session-id"
PROTOCOL_VERSION = b"mcp-protocol-version"
WITHOUT_SESSIONS = b"2026-07-28"
"""From this protocol version on, dates as they are, there is no Mcp-Session-Id (SEP-2567)."""


@dataclass
class _Binding:
    target_id: str
    bound_at: float
    used_at: float

    def is_over(self, now: float, settings: PlatformSettings) -> bool:
        return now - self.used_at >= settings.session_idle_s or now - self.bound_at >= settings.session_lifetime_s


class SessionAffinity:
    """At most one live session an instance, so there are never more bindings than instances and their own ids."""

    def __init__(self) -> None:
        self._bindings: dict[bytes, _Binding] = {}

    def target_of(self, request: RequestHead, now: float, settings: PlatformSettings) -> str | None:
        """The instance that the request's session has; None if it has none, or none any more."""
        binding = self._bindings.get(field_of(request.fields, SESSION_ID) or b"")
        if binding is None or binding.is_over(now, settings):
            return None
        binding.used_at = now
        return binding.target_id

    def bound_targets(self, now: float, settings: PlatformSettings) -> set[str]:
        """The instances that some session has. Sessions that are over are forgotten."""
        self._bindings = {key: x for key, x in self._bindings.items() if not x.is_over(now, settings)}
        return {binding.target_id for binding in self._bindings.values()}

    def note(self, request: RequestHead, response: ResponseHead, target_id: str, now: float) -> None:
        """A response has begun: bind its session, or end it. Gives the response an id where it needs one."""
        if response.status >= 400:
            return  # an id that the server does not know takes no instance for itself
        session = field_of(request.fields, SESSION_ID)
        given = field_of(response.fields, SESSION_ID)
        if request.method == b"DELETE" and session:
            self._bindings.pop(session, None)
            return
        if session is None and given is None and self._needs_id(request):
            given = str(uuid4()).encode()
            response.fields.append(b"Mcp-Session-Id: " + given)
        for key in (session, given):
            if key is not None:
                self._bind(key, target_id, now)

    def forget(self, target_id: str) -> None:
        """The instance is gone, and its sessions with it."""
        self._bindings = {key: x for key, x in self._bindings.items() if x.target_id != target_id}

    def _bind(self, key: bytes, target_id: str, now: float) -> None:
        binding = self._bindings.get(key)
        if binding is None or binding.target_id != target_id:
            self._bindings[key] = _Binding(target_id, now, now)
        else:
            binding.used_at = now

    @staticmethod
    def _needs_id(request: RequestHead) -> bool:
        version = field_of(request.fields, PROTOCOL_VERSION)
        return request.method == b"POST" and (version is None or version < WITHOUT_SESSIONS)


def field_of(fields: Sequence[bytes], name: bytes) -> bytes | None:
    """The value of the first "Name: value" line of this name (in lower case)."""
    for line in fields:
        if line[: len(name)].lower() == name and line[len(name) : len(name) + 1] == b":":
            return line[len(name) + 1 :].strip(b" \t") or None
    return None
