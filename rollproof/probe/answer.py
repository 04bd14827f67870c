"""What came back for one request, and what it means: its signature, its outcome, its payload. Pure.

A signature is a short class that findings are grouped by:

    ok                              answered as asked
    404/-32600 Session not found    HTTP status, JSON-RPC code, message
    502                             an HTTP error without JSON-RPC in it
    tool-error: <text>              the tool itself says no (`isError`)
    connect-error                   no connection: nothing was sent
    connection-closed               sent, and closed before a response began
    stream-ended-without-response   a response began and ended without the answer
    timeout                         nothing by the request's deadline
    malformed-answer, answer-missing, answer-too-large
    state-missing, state-wrong, state-foreign, applied-twice      see `checker`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rollproof.probe.cookies import CookieChange

OK = "ok"
CONNECT_ERROR = "connect-error"
CONNECTION_CLOSED = "connection-closed"
STREAM_ENDED = "stream-ended-without-response"
TIMEOUT = "timeout"
MALFORMED = "malformed-answer"
MISSING = "answer-missing"
TOO_LARGE = "answer-too-large"

_MESSAGE_LIMIT = 80
_IDS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b", re.IGNORECASE)
_TASK_ID_IN_TEXT = re.compile(r"task[_ ]?id[\"']?\s*[=:]\s*[\"']?([\w./:-]+)", re.IGNORECASE)
# JSON-RPC codes of a request that no handler has seen: invalid request, unknown method, header and version mismatch.
_REFUSALS = frozenset({-32700, -32600, -32601, -32020, -32021, -32022})


class Outcome(Enum):
    """What a client may conclude about a write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # certainly not applied: it never reached a handler
    UNKNOWN = "unknown"  # may have been applied


@dataclass(frozen=True)
class RpcError:
    """A JSON-RPC error object; its `data` is left out, it may hold anything."""

    code: int
    message: str


@dataclass(frozen=True)
class Answer:
    """One exchange. Times are the clock's seconds; `finished_t` is when the answer was complete, not the stream."""

    started_t: float
    finished_t: float
    http_status: int | None = None
    result: Mapping[str, Any] | None = None
    rpc_error: RpcError | None = None
    fault: str = ""  # one of the transport classes above
    detail: str = ""  # for people
    issued_session_id: str = ""  # Mcp-Session-Id of the response
    sent_session_id: str = ""
    cookie_changes: tuple[CookieChange, ...] = ()
    progress: int = 0  # progress notifications for this request
    last_event_id: str = ""
    retry_ms: int | None = None
    resumed: int = 0  # how often the answer was taken up with Last-Event-ID
    expects_answer: bool = True  # False for notifications
    is_stream: bool = False  # it came as events
    repeats: int = 0  # how often the answer came again on the same stream
    was_broken: bool = False  # the client itself broke the stream off, see Wire.post
    resume_failure: str = ""  # signature of the last attempt to take it up, where none succeeded

    @property
    def ok(self) -> bool:
        return self.signature == OK

    @property
    def signature(self) -> str:
        if self.fault:
            return self.fault
        if self.rpc_error:
            return f"{self.http_status}/{self.rpc_error.code} {_shorten(self.rpc_error.message)}".rstrip()
        if self.http_status is None or not 200 <= self.http_status < 300:
            return str(self.http_status)
        if not self.expects_answer:
            return OK
        if self.result is None:
            return MISSING
        if self.result.get("isError"):
            return f"tool-error: {_shorten(text_of(self.result))}"
        if self.result.get("resultType") not in (None, "complete"):
            return f"tool-error: {self.result['resultType']}"
        return OK

    @property
    def error(self) -> str:
        """What to show a person; "" where all is well."""
        if self.ok:
            return ""
        if self.rpc_error:
            return self.rpc_error.message[:500]
        if self.result is not None and self.result.get("isError"):
            return text_of(self.result)[:500]
        return self.detail or self.signature

    @property
    def is_unknown_handle(self) -> bool:
        """A tool that was given a session handle says that there is no such session."""
        return self.signature.startswith("tool-error:") and "unknown session" in self.signature.lower()

    @property
    def outcome(self) -> Outcome:
        if self.ok:
            return Outcome.ACKNOWLEDGED
        if self.fault == CONNECT_ERROR or (self.rpc_error and self.rpc_error.code in _REFUSALS):
            return Outcome.REFUSED
        return Outcome.UNKNOWN

    @property
    def payload(self) -> dict[str, Any]:
        """The tool's own object: structured content, else the JSON of its first text; {} where it has none."""
        if self.result is None:
            return {}
        structured = self.result.get("structuredContent")
        if not isinstance(structured, Mapping):
            structured = _json_object(text_of(self.result))
        inner = structured.get("result")  # a server may wrap what is no object of the output schema
        if set(structured) == {"result"}:
            structured = inner if isinstance(inner, Mapping) else _json_object(inner)
        return dict(structured)

    @property
    def task_id(self) -> str | None:
        """Which task answered, if it says so: `task_id`, `taskId`, or taskId=... in a text. An ARN is cut to its id."""
        payload = self.payload
        found = payload.get("task_id") or payload.get("taskId")
        if not found and self.result is not None and (match := _TASK_ID_IN_TEXT.search(text_of(self.result))):
            found = match[1]
        return str(found).rsplit("/", 1)[-1] if found else None


def text_of(result: Mapping[str, Any]) -> str:
    """The text parts of a tool's content, joined."""
    content = result.get("content")
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and "text" in part)


def _json_object(text: Any) -> Mapping[str, Any]:
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return {}
    try:
        decoded = json.loads(text)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, Mapping) else {}


def _shorten(message: str) -> str:
    """One line, without ids, so that equal faults get equal signatures."""
    return _IDS.sub("*", " ".join(message.split()))[:_MESSAGE_LIMIT]
