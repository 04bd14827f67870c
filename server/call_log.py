"""One log line a tool call: what a metric filter counts and an alarm watches.

The infrastructure sees an HTTP 200 whether a tool succeeded or not; only this line knows.
"""

from __future__ import annotations

import asyncio
import logging
import time

from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import InputRequiredToolResult, ToolResult
from mcp_types import CallToolRequestParams

from server.logs import log_event, session_digest
from server.session_identity import session_id_or_none


class CallLog(Middleware):
    """Fields: tool, session_id (a digest), task_id, duration_ms, success and, where it failed, error.

    `input_required` is true where a call of 2026-07-28 ended with a question to the client.
    """

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id

    async def on_call_tool(
        self, context: MiddlewareContext[CallToolRequestParams], call_next: CallNext[CallToolRequestParams, ToolResult]
    ) -> ToolResult:
        started_at = time.perf_counter()
        try:
            result = await call_next(context)
        except ToolError as error:
            self._log(context, started_at, error=str(error))
            raise
        except asyncio.CancelledError:
            self._log(context, started_at, error="cancelled")
            raise
        except Exception as error:
            # The message may quote the client's arguments, which are not ours to keep.
            self._log(context, started_at, error=type(error).__name__)
            raise
        self._log(
            context,
            started_at,
            error="the tool answered with an error" if result.is_error else None,
            is_question=isinstance(result, InputRequiredToolResult),
        )
        return result

    def _log(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        started_at: float,
        *,
        error: str | None,
        is_question: bool = False,
    ) -> None:
        session_id = _session_id(context)
        outcome = {"success": True} if error is None else {"success": False, "error": error}
        if is_question:
            outcome["input_required"] = True
        log_event(
            "tool_call",
            level=logging.INFO if error is None else logging.WARNING,
            tool=context.message.name,
            session_id=None if session_id is None else session_digest(session_id),
            task_id=self._task_id,
            duration_ms=round((time.perf_counter() - started_at) * 1000, 3),
            **outcome,
        )


def _session_id(context: MiddlewareContext[CallToolRequestParams]) -> str | None:
    """The session that the call is about: its handle, else its own."""
    handle = (context.message.arguments or {}).get("session")
    if isinstance(handle, str):
        return handle
    ctx = context.fastmcp_context
    return None if ctx is None else session_id_or_none(ctx)
