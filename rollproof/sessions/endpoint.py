"""The handshake era of Streamable HTTP (MCP 2025-11-25 and before, transports), served from what all replicas share.

Status codes and bodies are the SDK's own (mcp.server.streamable_http), so that clients see no other server. Added are:

    503 -32000   Redis has to be asked and does not answer, or this replica is draining: the session is not lost
    400 -32600   a reply to a request that this session was never sent, or whose replica is gone
    400 -32600   a Last-Event-ID that is not this session's, or whose events are forgotten
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pydantic_core
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.streamable_http import check_accept_headers
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    jsonrpc_message_adapter,
)
from mcp_types.version import is_version_at_least
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rollproof.sessions.call import Call
from rollproof.sessions.events import OUTCOME_UNKNOWN, Event, EventLog, read_listen_id
from rollproof.sessions.link import Link, StoreUnavailable, end_tasks
from rollproof.sessions.options import Options
from rollproof.sessions.outlet import Outlet, priming, serve_events
from rollproof.sessions.registry import Registry, Session
from rollproof.sessions.serving import RESUMABLE_SINCE, SESSION_ENDED, STREAM, UNAVAILABLE, Serving

SESSION_HEADER = "mcp-session-id"
DRAINING = "this replica is stopping; another one serves the session"

logger = logging.getLogger("rollproof.sessions")


class Refused(Exception):
    """Answered with an error of this kind and nothing else."""

    def __init__(self, status: int, message: str, code: int = INVALID_REQUEST, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


@dataclass
class _Listener:
    name: str
    outlet: Outlet
    is_announced: bool = False


class Endpoint:
    """`handle` is the ASGI application of one path."""

    def __init__(self, serving: Serving, link: Link, registry: Registry, log: EventLog, options: Options) -> None:
        self._serving = serving
        self._link = link
        self._registry = registry
        self._log = log
        self._options = options
        self._listening: dict[str, _Listener] = {}
        self._streams: set[Outlet] = set()
        self._opened = 0
        self.is_draining = False

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def drain(self) -> None:
        """End the streams that would never end, and open no more; calls go on."""
        self.is_draining = True
        for outlet in list(self._streams):
            outlet.close()

    def close_session(self, session_id: str) -> None:
        """The session has ended somewhere: nothing of it goes on here."""
        self._registry.forget(session_id)
        self._serving.stop(SESSION_ENDED, session_id)
        self._close_listener(session_id)

    def note_listener(self, session_id: str, name: str) -> None:
        """A standalone stream was opened somewhere. All replicas learn of them in one order: the last one stays."""
        mine = self._listening.get(session_id)
        if mine is None:
            return
        if mine.name == name:
            mine.is_announced = True
        elif mine.is_announced:
            mine.outlet.close()

    def _close_listener(self, session_id: str) -> None:
        if session_id in self._listening:
            self._listening[session_id].outlet.close()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        session_id = request.headers.get(SESSION_HEADER)
        is_known = False
        try:
            session = await self._session(session_id, _owner(scope)) if session_id is not None else None
            is_known = session is not None
            match request.method:
                case "POST":
                    await self._post(session, request, receive, send)
                case "GET":
                    await self._get(_required(session), request, receive, send)
                case "DELETE":
                    await self._delete(_required(session))
                    await Response(headers={SESSION_HEADER: str(session_id)})(scope, receive, send)
                case _:
                    raise Refused(405, "Method Not Allowed", Allow="GET, POST, DELETE")
        except StoreUnavailable:
            refused = Refused(503, UNAVAILABLE, OUTCOME_UNKNOWN, **{"Retry-After": "1"})
            await _refuse(refused, session_id if is_known else None)(scope, receive, send)
        except Refused as refused:
            await _refuse(refused, session_id if is_known else None)(scope, receive, send)

    async def _session(self, session_id: str, owner: str | None) -> Session:
        """Raises Refused for one that is not this client's, in the words for one that is not there."""
        signer = self._serving.signer
        if signer is None:
            raise StoreUnavailable
        session = await self._registry.find(session_id) if signer.is_session_id(session_id) else None
        if session is None or session.owner != owner:
            raise Refused(404, "Session not found")
        return session

    async def _post(self, session: Session | None, request: Request, receive: Receive, send: Send) -> None:
        message = await self._read(request)
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            await self._initialize(session, message, request, receive, send)
            return
        session = _required(session)
        headers = {SESSION_HEADER: session.id}
        if isinstance(message, JSONRPCRequest):
            call = self._serving.begin(session, message, request)
            first = b""
            if is_version_at_least(session.version, RESUMABLE_SINCE):
                first = priming(f"{call.stream.text}/0", self._options.retry_ms)
            await self._answer(call, first, headers, request, receive, send)
            return
        if isinstance(message, JSONRPCNotification):
            self._serving.notify(session, message, request)
        if not isinstance(message, JSONRPCNotification) or message.method == "notifications/progress":
            body = message.model_dump(mode="json", by_alias=True, exclude_unset=True)
            is_taken = await self._serving.backchannel.deliver(session.id, body)
            if not is_taken and not isinstance(message, JSONRPCNotification):
                raise Refused(400, "Bad Request: nobody waits for this reply in this session")
        await Response(status_code=202, headers={**headers, "content-type": "application/json"})(
            request.scope, receive, send
        )

    async def _initialize(
        self, session: Session | None, message: JSONRPCRequest, request: Request, receive: Receive, send: Send
    ) -> None:
        """The session's record is written before the client learns its id. Raises StoreUnavailable."""
        signer = self._serving.signer
        if signer is None:
            raise StoreUnavailable
        session_id = session.id if session is not None else signer.new_session_id()
        call = await self._serving.initialize(session_id, _owner(request.scope), message, request)
        await self._answer(call, b"", {SESSION_HEADER: session_id}, request, receive, send)

    async def _answer(
        self, call: Call, first: bytes, headers: dict[str, str], request: Request, receive: Receive, send: Send
    ) -> None:
        if not self._options.json_response:
            await serve_events(call.outlet, receive, send, headers, keepalive_s=self._options.keepalive_s, first=first)
            return
        watch = asyncio.create_task(_leave_with_client(receive, call.outlet))
        try:
            event = await call.outlet.get()
        finally:
            watch.cancel()
        if event is not None and event.is_last:
            response = Response(event.text, media_type="application/json", headers=headers)
            await response(request.scope, receive, send)

    async def _get(self, session: Session, request: Request, receive: Receive, send: Send) -> None:
        if not check_accept_headers(request)[1]:
            raise Refused(406, "Not Acceptable: Client must accept text/event-stream")
        if self.is_draining:
            raise Refused(503, DRAINING, OUTCOME_UNKNOWN, **{"Retry-After": "1", "Connection": "close"})
        last = request.headers.get("last-event-id", "")
        entry = read_listen_id(last)
        if not last or entry is not None:
            await self._listen(session, entry or "", receive, send)
            return
        name, _, number = last.rpartition("/")
        stream = self._serving.signer.read_token(STREAM, session.id, name) if self._serving.signer else None
        is_number = number.isascii() and number.isdigit() and len(number) < 10
        if stream is None or not is_number or not await self._log.exists(session.id, stream):
            raise Refused(400, "Bad Request: unknown or forgotten Last-Event-ID")
        await self._follow(self._log.follow(session.id, stream, int(number)), Outlet(), session, b"", receive, send)

    async def _listen(self, session: Session, entry: str, receive: Receive, send: Send) -> None:
        """The standalone stream; the newest listener of a session is the one, on whichever replica."""
        self._opened += 1
        name = f"{self._link.replica}.{self._opened}"
        self._close_listener(session.id)
        outlet = Outlet()
        self._listening[session.id] = _Listener(name, outlet)
        self._link.tell_all({"t": "listen", "session": session.id, "by": name})
        try:
            await self._follow(
                self._log.follow_notes(session.id, entry), outlet, session, b": open\r\n\r\n", receive, send
            )
        finally:
            if self._listening[session.id].name == name:
                del self._listening[session.id]

    async def _follow(
        self,
        events: AsyncIterator[Event],
        outlet: Outlet,
        session: Session,
        first: bytes,
        receive: Receive,
        send: Send,
    ) -> None:
        self._streams.add(outlet)
        feed = asyncio.create_task(_feed(events, outlet))
        holding = asyncio.create_task(self._hold(session))
        try:
            await serve_events(
                outlet, receive, send, {SESSION_HEADER: session.id}, keepalive_s=self._options.keepalive_s, first=first
            )
        finally:
            self._streams.discard(outlet)
            await end_tasks(feed, holding)

    async def _hold(self, session: Session) -> None:
        """An open stream keeps its session alive."""
        while True:
            await asyncio.sleep(self._options.session_ttl_s / 10)
            try:
                await self._registry.find(session.id)
            except StoreUnavailable:
                logger.debug("a session could not be renewed")

    async def _delete(self, session: Session) -> None:
        await self._registry.end(session.id)
        await self._log.forget(session.id)
        self.close_session(session.id)
        self._link.tell_all({"t": "end", "session": session.id})

    async def _read(self, request: Request) -> JSONRPCMessage:
        """One JSON-RPC message. Raises Refused."""
        has_json, has_sse = check_accept_headers(request)
        if self._options.json_response and not has_json:
            raise Refused(406, "Not Acceptable: Client must accept application/json")
        if not self._options.json_response and not (has_json and has_sse):
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


def _required(session: Session | None) -> Session:
    if session is None:
        raise Refused(400, "Bad Request: Missing session ID")
    return session


def _owner(scope: Scope) -> str | None:
    """The principal of the credential, as the SDK tells them apart; None without authentication."""
    user: Any = scope.get("user")
    return json.dumps(authorization_context(user), sort_keys=True) if isinstance(user, AuthenticatedUser) else None


def _refuse(refused: Refused, session_id: str | None) -> Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": refused.code, "message": refused.message}}
    headers = dict(refused.headers) | ({SESSION_HEADER: session_id} if session_id else {})
    return Response(json.dumps(body), status_code=refused.status, media_type="application/json", headers=headers)


async def _feed(events: AsyncIterator[Event], outlet: Outlet) -> None:
    try:
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                await outlet.put(event)
                if event.is_last:
                    return
    except StoreUnavailable:
        logger.warning("a stream ends because redis does not answer")
    outlet.close()


async def _leave_with_client(receive: Receive, outlet: Outlet) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    outlet.close()
