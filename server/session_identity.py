"""Whose session is this call's?

`ctx.session_id` always answers, but not always with something that the next call will have too (fastmcp,
`Context.session_id`):

    handshake era, stateful    the id this server issued; every call carries it
    handshake era, stateless   the Mcp-Session-Id the client sent of its own accord, else a random one
    2026-07-28, any mode       the same: the protocol has no sessions any more, but a client may send the header

State kept under a random id is state lost, so where the client sent none these tools say so.
"""

from __future__ import annotations

import string

from fastmcp import Context
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

SESSION_HEADER = "mcp-session-id"
MAX_LENGTH = 256
VISIBLE_ASCII = frozenset(string.ascii_letters + string.digits + string.punctuation)  # what the specification allows


class NoSessionId(Exception):
    """This call belongs to no session that a later call could name. The message is for the client."""


def session_id_of(ctx: Context) -> str:
    """The id that this call shares with the client's other calls. Raises NoSessionId."""
    session_id = _shared_session_id(ctx)
    if session_id is None:
        raise NoSessionId(
            "this call has no session id: it carried no Mcp-Session-Id header, and this server issues none for it. "
            "Send an Mcp-Session-Id of your own making, hard to guess, on every call"
        )
    if len(session_id) > MAX_LENGTH or not VISIBLE_ASCII.issuperset(session_id):
        raise NoSessionId(f"an Mcp-Session-Id is at most {MAX_LENGTH} visible ASCII characters")
    return session_id


def session_id_or_none(ctx: Context) -> str | None:
    """As `session_id_of`, for tools that need none."""
    try:
        return session_id_of(ctx)
    except NoSessionId:
        return None


def protocol_version_of(ctx: Context) -> str | None:
    """The MCP version this call was made in, where it is known."""
    request = ctx.request_context
    return None if request is None else request.protocol_version


def _shared_session_id(ctx: Context) -> str | None:
    context = ctx.request_context
    if context is None:
        return None
    if context.request is not None:
        return ctx.session_id if context.request.headers.get(SESSION_HEADER) else None
    # No HTTP: one connection, one client. Only the handshake era gives it an id that lasts.
    return None if context.protocol_version in MODERN_PROTOCOL_VERSIONS else ctx.session_id
