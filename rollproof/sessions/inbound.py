"""What a client sent: one JSON-RPC message, its owner, and how it is refused.

Status codes and bodies are the SDK's own (mcp.server.streamable_http), so that clients see no other server.
"""

from __future__ import annotations

import json
from typing import Any

import pydantic_core
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.streamable_http import check_accept_headers
from mcp_types import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, JSONRPCMessage, jsonrpc_message_adapter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

SESSION_HEADER = "mcp-session-id"


class Refused(Exception):
    """Answered with an error of this kind and nothing else."""

    def __init__(self, status: int, message: str, code: int = INVALID_REQUEST, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


async def read_message(request: Request, *, wants_json: bool) -> JSONRPCMessage:
    """One JSON-RPC message. Raises Refused."""
    has_json, has_sse = check_accept_headers(request)
    if wants_json and not has_json:
        raise Refused(406, "Not Acceptable: Client must accept application/json")
    if not wants_json and not (has_json and has_sse):
        raise Refused(406, "Not Acceptable: Client must accept both application/json and text/event-stream")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "Unsupported Media Type: Content-Type must be application/json")
    try:
        raw = pydantic_core.from_json(await request.body())
    except ValueError as error:
        raise Refused(400, f"Parse error: {error}", PARSE_ERROR) from None
    try:
        message: JSONRPCMessage = jsonrpc_message_adapter.validate_python(raw, by_name=False)
    except ValidationError as error:
        raise Refused(400, f"Validation error: {error}", INVALID_PARAMS) from None
    return message


def owner_of(scope: Scope) -> str | None:
    """The principal of the credential, as the SDK tells them apart; None without authentication."""
    user: Any = scope.get("user")
    return json.dumps(authorization_context(user), sort_keys=True) if isinstance(user, AuthenticatedUser) else None


def refusal(refused: Refused, session_id: str | None) -> Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": refused.code, "message": refused.message}}
    headers = dict(refused.headers) | ({SESSION_HEADER: session_id} if session_id else {})
    return Response(json.dumps(body), status_code=refused.status, media_type="application/json", headers=headers)
