"""Whose session is this call's?

`ctx.session_id` always answers, but not always with something that the next call will have too (fastmcp,
`Context.session_id`):

    handshake era, stateful    the id this server issued; every call carries it
    handshake era, stateless   the Mcp-Session-Id the client sent of its own accord, else a random one
    2026-07-28, any mode       the same: the protocol has no sessions any more, but a client may send the header

State kept under a random id is state lost, so where the client sent none these tools say so, unless
MCP_REQUIRE_SESSION_ID is false: then they behave as a server does that uses `ctx.session_id` without a thought.

What 2026-07-28 has in place of sessions (SEP-2567) is a handle: minted by a tool and given back as an argument. Whoever
knows it is taken for the client that it was minted for.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from fastmcp import Context
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

SESSION_HEADER = "mcp-session-id"
MAX_LENGTH = 256
VISIBLE_ASCII = frozenset(string.ascii_letters + string.digits + string.punctuation)  # what the specification allows


class NoSessionId(Exception):
    """This call belongs to no session that a later call could name. The message is for the client."""


@dataclass(frozen=True)
class NamedSession:
    """`shown` is what the client calls the session, `key` what the store does; only a handle `must_exist`."""

    shown: str
    key: str
    must_exist: bool


def mint() -> str:
    """256 bits that nobody guesses, of characters that a header may carry."""
    return secrets.token_urlsafe(32)


def named_by_handle(handle: str) -> NamedSession:
    # No header can hold a space: a client cannot make a handle up by sending one as its Mcp-Session-Id.
    return NamedSession(handle, f"handle {handle}", must_exist=True)


def session_of(ctx: Context, handle: str | None, *, is_required: bool = True) -> NamedSession:
    """The session that the handle names, else the call's own. Raises NoSessionId."""
    if handle is not None:
        return named_by_handle(handle)
    session_id = session_id_of(ctx, is_required=is_required)
    return NamedSession(session_id, session_id, must_exist=False)


def session_id_of(ctx: Context, *, is_required: bool = True) -> str:
    """The id that this call shares with the client's other calls. Raises NoSessionId.

    Where none is required, a random one that only this call has.
    """
    session_id = _shared_session_id(ctx)
    if session_id is None and not is_required:
        return ctx.session_id
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
