"""A session opened only to be ended: begun, written to, deleted on another connection, and asked once more.

MCP 2025-11-25, basic/transports, "Session Management": after a DELETE every request with that id MUST be answered
404, by whichever task it reaches. A server that does not let clients end sessions answers 405.
"""

from __future__ import annotations

from rollproof.probe.activity import ActivityOutcome, Attempt, failed, judge_deleted
from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.options import ProbeOptions, SessionIds
from rollproof.probe.plan import Plan, Write

_NAME = "deleted"


async def delete_one(client: McpClient, plan: Plan, options: ProbeOptions) -> Attempt:
    """With a client of its own, whose connections are closed at the end."""
    within_s = options.activity_timeout_s
    try:
        if not client.is_modern:
            began = await client.initialize()
            if not began.ok:
                return failed("initialize", began)
            await client.notify_initialized()
        step = plan.steps(_NAME, 1)[0]
        if isinstance(step, Write) and options.session_ids is not SessionIds.HANDLE:
            wrote = await client.call_tool(step.tool, step.arguments, within_s=within_s)
            if not wrote.ok:
                return failed(step.tool, wrote)
        deleted = await client.delete_on_a_new_connection()
        if deleted.http_status == 405:
            return Attempt("DELETE", deleted, ActivityOutcome.UNSUPPORTED)
        if not deleted.ok:
            return failed("DELETE", deleted)
        tool, after = await _ask_once_more(client, plan, within_s)
        return judge_deleted(tool, deleted, after)
    finally:
        await client.close_wire()


async def _ask_once_more(client: McpClient, plan: Plan, within_s: float) -> tuple[str, Answer]:
    step = plan.last_read()
    if step.tool not in plan.tools:
        answer, _ = await client.list_tools()
        return step.tool, answer
    return step.tool, await client.call_tool(step.tool, step.arguments, within_s=within_s)
