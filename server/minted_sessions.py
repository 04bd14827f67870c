"""MCP_MINT_SESSION_ID: session ids from a server that keeps no sessions.

A stateless server issues no Mcp-Session-Id, and a client that was given none sends none: there is nothing then to key
state on. But every client of the handshake era sends back what it was given, and a stateless server takes any id. So
the answer to `initialize` gets one, and from then on unmodified clients name their session, at whichever task.

The only request of a client that has neither an id nor a negotiated version is `initialize`. (2026-07-28 sends its
version always; specification 2025-11-25, basic/transports, "Session Management".)
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.session_identity import SESSION_HEADER, mint
from server.session_store import SessionStore, StoreUnavailable

VERSION_HEADER = "mcp-protocol-version"


class MintedSessions:
    """ASGI middleware: gives initialize's answer a session id; on DELETE ends what is stored under one."""

    def __init__(self, app: ASGIApp, *, store: SessionStore, path: str) -> None:
        self._app = app
        self._store = store
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != self._path:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        session_id = headers.get(SESSION_HEADER)
        if scope["method"] == "DELETE" and session_id:
            response = await self._end(session_id)
            await response(scope, receive, send)
        elif scope["method"] == "POST" and not session_id and VERSION_HEADER not in headers:
            await self._app(scope, receive, _minting(send))
        else:
            await self._app(scope, receive, send)

    async def _end(self, session_id: str) -> Response:
        """200 as a stateful server answers, also where nothing was stored: an id may be in use without any state."""
        try:
            await self._store.end(session_id)
        except StoreUnavailable as error:
            message = f"session store is unavailable: {error}. Try again"
            body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32603, "message": message}}
            return JSONResponse(body, status_code=503)
        return Response(status_code=200, media_type="application/json")


def _minting(send: Send) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)[SESSION_HEADER] = mint()
        await send(message)

    return send_with_id
