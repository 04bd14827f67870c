"""A call that the server may run as a task, asked for until it is done.

Modern: the extension io.modelcontextprotocol/tasks (SEP-2663; fastmcp-tasks 4.1 serves it). A client that declares it
may be given `resultType: "task"` and polls `tasks/get`, which holds the result in the end. Legacy (2025-11-25): the
call asks for it with `task`, and a server without tasks ignores that. Either way a server that answers with the
tool's own result offers no tasks for this tool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rollproof.probe.activity import ActivityOutcome, Attempt, failed, told
from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.options import ProbeOptions
from rollproof.probe.plan import CallTool

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
GET = "tasks/get"

_TTL_MS = 60_000
_POLL_MS = 250.0  # where the server names no other
_LEAST_POLL_MS = 50.0
_DONE = frozenset({"completed", "failed", "cancelled"})


async def run_as_task(client: McpClient, step: CallTool, options: ProbeOptions) -> Attempt:
    """`step` is a call of a second or less. The whole has the activity's timeout."""
    within_s = options.activity_timeout_s
    if client.is_modern:
        answer = await client.call_tool(step.tool, step.arguments, within_s=within_s, extensions={TASKS_EXTENSION: {}})
    else:
        more = {"task": {"ttl": _TTL_MS}}
        answer = await client.call_tool(step.tool, step.arguments, within_s=within_s, more=more)
    task = _task_of(answer)
    if task is None:
        if not answer.ok:
            return failed(step.tool, answer)
        return told(step.tool, answer, ActivityOutcome.UNSUPPORTED, "the server ran the call itself, not as a task")
    return await _poll(client, task, answer.started_t, within_s)


async def _poll(client: McpClient, task: Mapping[str, Any], started_t: float, within_s: float) -> Attempt:
    task_id = str(task.get("taskId", ""))
    while True:
        await asyncio.sleep(_pause_s(task))
        answer = await client.request(
            GET, {"taskId": task_id}, task_id, within_s=within_s, extensions={TASKS_EXTENSION: {}}
        )
        answer = replace(answer, started_t=started_t)
        if not answer.ok:
            return failed(GET, answer)
        task = answer.result or {}
        status = str(task.get("status", ""))
        if status == "completed":
            return Attempt(GET, answer, ActivityOutcome.OK)
        if status in _DONE:
            return Attempt(GET, answer, ActivityOutcome.FAILED, f"tool-error: task {status}")
        if answer.finished_t - started_t > within_s:
            return told(GET, answer, ActivityOutcome.HANG, f"the task was not done within {within_s:g} s")


def _task_of(answer: Answer) -> Mapping[str, Any] | None:
    """The task that a call was answered with: flat in the modern era, nested in the legacy one."""
    result = answer.result or {}
    nested = result.get("task")
    if isinstance(nested, Mapping):
        return nested
    return result if result.get("resultType") == "task" else None


def _pause_s(task: Mapping[str, Any]) -> float:
    named = task.get("pollIntervalMs", task.get("pollInterval"))
    milliseconds = float(named) if isinstance(named, int | float) else _POLL_MS
    return max(milliseconds, _LEAST_POLL_MS) / 1000
