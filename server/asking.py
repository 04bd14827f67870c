"""Asking the client: its user for an answer, its model for a text, its roots.

One tool serves both protocols, whose ways differ:

    handshake era   the server sends a request on the stream of the call, and the tool waits for the reply. The client
                    posts it as a message of its own, so it has to reach this very process
    2026-07-28      the call ends with an InputRequiredResult; the client calls again with the answer and the
                    `requestState` it was given. Any task can take that up that has the key it is sealed with

Sampling and roots are deprecated in 2026-07-28 (SEP-2577), and fastmcp's Context has no methods for them any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fastmcp import Context
from fastmcp.exceptions import ToolError
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

Request = ElicitRequest | CreateMessageRequest | ListRootsRequest
ResultT = TypeVar("ResultT", ElicitResult, CreateMessageResult, ListRootsResult)

ANSWER = "answer"  # the key of the one input request
CAPABILITIES = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}


@dataclass(frozen=True)
class Answer(Generic[ResultT]):
    """What the client said, and the id of the task that asked."""

    result: ResultT
    asked_by: str


def is_modern(ctx: Context) -> bool:
    """Whether this call is of a protocol without requests from the server."""
    context = ctx.request_context
    return context is not None and context.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask(
    ctx: Context, request: Request, result_type: type[ResultT], task_id: str
) -> Answer[ResultT] | InputRequiredResult:
    """The client's answer or, in 2026-07-28, what the tool has to return to be called again with one.

    Raises ToolError where the client cannot be asked, or did not answer.
    """
    if is_modern(ctx):
        return _ask_by_round_trip(ctx, request, result_type, task_id)
    if not ctx.session.can_send_request:
        raise ToolError(
            f"this server cannot send {request.method}: it keeps no session or answers with JSON, so there is no way "
            "for a request to the client. A stateful server with event streams, or protocol 2026-07-28, has one"
        )
    _check_capability(ctx.session, request)
    try:
        # Related to the call, so that it goes on the call's own stream: a client need not hold another one open.
        result = await ctx.session.send_request(
            request, result_type, metadata=ServerMessageMetadata(related_request_id=ctx.request_id)
        )
    except NoBackChannelError as error:
        raise ToolError(f"{request.method} could not be sent: {error}") from error
    except MCPError as error:
        raise ToolError(f"the client answered {request.method} with an error: {error}") from error
    except ValidationError as error:
        raise ToolError(f"the client answered {request.method} with something else") from error
    return Answer(result, asked_by=task_id)


def _ask_by_round_trip(
    ctx: Context, request: Request, result_type: type[ResultT], task_id: str
) -> Answer[ResultT] | InputRequiredResult:
    responses = ctx.input_responses
    asked_by = ctx.request_state
    # An answer without our state answers nothing that was asked. The state itself was unsealed and found to belong to
    # this call, with these arguments, before the tool was reached (mcp.server.request_state).
    if not responses or asked_by is None:
        _check_capability(ctx.session, request)
        return InputRequiredResult(input_requests={ANSWER: request}, request_state=task_id)
    response = responses.get(ANSWER)
    if not isinstance(response, result_type):
        raise ToolError(f"the client answered {request.method} with something else")
    return Answer(response, asked_by)


def _check_capability(session: ServerSession, request: Request) -> None:
    capability = CAPABILITIES[request.method]
    if not session.check_client_capability(ClientCapabilities.model_validate({capability: {}})):
        raise ToolError(f"this client did not declare the capability {capability!r}, so it cannot be asked")
