"""Tools that turn to the client: what a server that keeps no transport session can no longer do, or does otherwise.

`confirm`, `sample` and `roots` ask it something; `announce` tells it something that no call of its asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    SamplingMessage,
    TextContent,
)
from pydantic import Field

from server.asking import ask, is_modern
from server.results import Announced, Confirmed, Roots, Sampled

Question = Annotated[str, Field(min_length=1, max_length=10_000)]
Token = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=1, le=1_000)]

MAX_TOKENS = 256
ANSWER_FORM = {
    "type": "object",
    "properties": {"answer": {"type": "string", "title": "Answer"}},
    "required": ["answer"],
}


@dataclass(frozen=True)
class ClientTools:
    """The tools of one task. A public method is a tool, its docstring what a model reads."""

    task_id: str
    version: str
    is_stateless: bool

    async def confirm(self, question: Question, ctx: Context, token: Token = "") -> Confirmed | InputRequiredResult:
        """Ask the user a question. The result repeats the token, so that it can be told whose answer it is."""
        form = ElicitRequestFormParams(message=question, requested_schema=ANSWER_FORM)
        outcome = await ask(ctx, ElicitRequest(params=form), ElicitResult, self.task_id)
        if isinstance(outcome, InputRequiredResult):
            return outcome
        answer = (outcome.result.content or {}).get("answer", "")
        return Confirmed(
            self.task_id, self.version, outcome.asked_by, action=outcome.result.action, answer=str(answer), token=token
        )

    async def sample(self, prompt: Question, ctx: Context) -> Sampled | InputRequiredResult:
        """Ask the client's model for a text."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        params = CreateMessageRequestParams(messages=[message], max_tokens=MAX_TOKENS)
        outcome = await ask(ctx, CreateMessageRequest(params=params), CreateMessageResult, self.task_id)
        if isinstance(outcome, InputRequiredResult):
            return outcome
        content = outcome.result.content
        if not isinstance(content, TextContent):
            raise ToolError(f"the client's model answered with {content.type}, not with a text")
        return Sampled(self.task_id, self.version, outcome.asked_by, text=content.text, model=outcome.result.model)

    async def roots(self, ctx: Context) -> Roots | InputRequiredResult:
        """Ask the client for its roots."""
        outcome = await ask(ctx, ListRootsRequest(), ListRootsResult, self.task_id)
        if isinstance(outcome, InputRequiredResult):
            return outcome
        return Roots(
            self.task_id, self.version, outcome.asked_by, uris=[str(root.uri) for root in outcome.result.roots]
        )

    async def announce(self, text: Question, ctx: Context, count: Count = 1) -> Announced:
        """Send log messages that belong to no call, on the stream that the client holds open for the session."""
        if is_modern(ctx) or self.is_stateless:
            raise ToolError(
                "this session has no stream of its own: there is one in the handshake era alone, on a stateful server"
            )
        for number in range(1, count + 1):
            data = {"text": text, "number": number, "count": count, "task_id": self.task_id}
            await ctx.session.send_notification(
                LoggingMessageNotification(
                    params=LoggingMessageNotificationParams(level="info", logger="announce", data=data)
                )
            )
        return Announced(self.task_id, self.version, count)

    def register(self, mcp: FastMCP) -> None:
        """Add every tool to `mcp`. Asking twice asks twice, but changes nothing here."""
        hints = {"readOnlyHint": True, "openWorldHint": True}
        for tool in (self.confirm, self.sample, self.roots, self.announce):
            mcp.tool(tool, annotations=hints)
