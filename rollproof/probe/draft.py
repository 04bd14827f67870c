"""An answer in the making: what has come so far for one request, until it is an Answer. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollproof.probe.answer import Answer, RpcError
from rollproof.probe.cookies import CookieChange
from rollproof.probe.dialect import Message
from rollproof.probe.sse import SseParser


@dataclass
class Draft:
    """Filled in by `wire`, field by field."""

    started_t: float
    request_id: int | None
    sent_session_id: str = ""
    http_status: int | None = None
    message: Message | None = None
    finished_t: float | None = None
    fault: str = ""
    detail: str = ""
    issued_session_id: str = ""
    cookie_changes: tuple[CookieChange, ...] = ()
    progress: int = 0
    parser: SseParser | None = field(default=None, repr=False)
    repeats: int = 0
    breaks: bool = False  # asked to break off
    was_broken: bool = False

    def fail(self, fault: str, error: BaseException | str) -> None:
        """The first cause stands. What an answered request's stream does afterwards is no fault."""
        if self.message is None and not self.fault:
            self.fault = fault
            self.detail = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")

    def answer(self, now: float) -> Answer:
        message = self.message or {}
        result, error = message.get("result"), message.get("error")
        fault, detail = self.fault, self.detail
        if self.http_status is not None and self.http_status >= 400:
            fault, detail = "", detail or f"HTTP {self.http_status}"  # a broken error page is still that error
        return Answer(
            started_t=self.started_t,
            finished_t=now if self.finished_t is None else self.finished_t,
            http_status=self.http_status,
            result=result if isinstance(result, Mapping) else None,
            rpc_error=rpc_error(error),
            fault=fault,
            detail=detail,
            issued_session_id=self.issued_session_id,
            sent_session_id=self.sent_session_id,
            cookie_changes=self.cookie_changes,
            progress=self.progress,
            last_event_id=self.parser.last_event_id if self.parser else "",
            retry_ms=self.parser.retry_ms if self.parser else None,
            expects_answer=self.request_id is not None,
            is_stream=self.parser is not None,
            repeats=self.repeats,
            was_broken=self.was_broken,
        )

    def take(self, message: Any, now: float) -> bool:
        """Keep it if it answers the request. An error without an id answers the only request there is."""
        if not isinstance(message, dict) or "method" in message or not ("result" in message or "error" in message):
            return False
        if message.get("id") != self.request_id and not ("error" in message and message.get("id") is None):
            return False
        if self.message is None:
            self.message, self.finished_t = message, now
        else:
            self.repeats += 1
        return True

    def counts(self, message: Message) -> None:
        """Progress of this request: the client's tokens are its request ids."""
        params = message.get("params")
        is_own = isinstance(params, Mapping) and params.get("progressToken") == self.request_id
        self.progress += is_own and message.get("method") == "notifications/progress"


def rpc_error(error: Any) -> RpcError | None:
    if not isinstance(error, Mapping):
        return None
    code = error.get("code")
    return RpcError(code if isinstance(code, int) else 0, str(error.get("message", "")))
