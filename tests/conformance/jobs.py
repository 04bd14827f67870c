"""Tools that run as tasks of the tasks extension (SEP-2663), under the suite's names.

`fastmcp-tasks` is not among the project's dependencies: `run.py` installs it for the suite's sake alone.
"""

from __future__ import annotations

import asyncio

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.tasks import TaskConfig
from mcp.shared.exceptions import MCPError

from tests.conformance.questions import Rounds, answer_to, ask, field_of, has_answered, input_required


async def greet(name: str) -> str:
    """Never a task."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float = 1.0, label: str = "") -> str:
    """Take some time; it can be cancelled meanwhile."""
    await asyncio.sleep(seconds)
    return f"{label}: {seconds} s"


async def failing_job() -> str:
    """Fail as a tool does: the task completes, and its result is an error."""
    await asyncio.sleep(1)
    raise ToolError("this job fails on purpose")


async def protocol_error_job() -> str:
    """Fail as the protocol does: the task fails."""
    raise MCPError(code=types.INTERNAL_ERROR, message="this job breaks the protocol on purpose")


async def confirm_delete(filename: str, ctx: Context) -> Rounds:
    """Wait for the user's consent."""
    if not has_answered(ctx, ["consent"]):
        return input_required({"consent": ask(f"Delete {filename}?", "confirm", "boolean")})
    return f"{filename}: {field_of(answer_to(ctx, 'consent'), 'confirm')}"


async def multi_input(ctx: Context) -> Rounds:
    """Wait for two answers, which may come one by one."""
    questions = {key: ask(f"The {key} name?", "name") for key in ("first", "second")}
    if not has_answered(ctx, [*questions]):
        return input_required(questions)
    return " and ".join(field_of(answer_to(ctx, key), "name") for key in questions)


async def test_tool_with_task(ctx: Context) -> Rounds:
    """Ask first, then become a task."""
    if not has_answered(ctx, ["user_name"]):
        return input_required({"user_name": ask("What is your name?", "name")})
    return f"done for {field_of(answer_to(ctx, 'user_name'), 'name')}"


OPTIONAL = (slow_compute, protocol_error_job, confirm_delete, multi_input)
REQUIRED = (failing_job, test_tool_with_task)  # refused to clients without the extension


def register(mcp: FastMCP, url: str) -> None:
    """`url`: where tasks are kept, redis://... or memory://. Raises ModuleNotFoundError without fastmcp-tasks."""
    from fastmcp_tasks import TasksExtension

    mcp.add_extension(TasksExtension(url=url))
    mcp.tool(greet)
    for tool in OPTIONAL:
        mcp.tool(tool, task=True)
    for tool in REQUIRED:
        mcp.tool(tool, task=TaskConfig(mode="required"))
