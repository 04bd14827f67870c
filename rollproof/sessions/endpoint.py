"""The handshake era of Streamable HTTP (MCP 2025-11-25 and before, transports), served from what all replicas share.

Status codes and bodies are the SDK's own (mcp.server.streamable_http), so that clients see no other server. Added are:

    503 -32000   Redis has to be asked and does not answer, or this replica is draining: the session is not lost
    400 -32600   a reply to a request that this session was never sent, or whose replica is gone
    400 -32600   a Last-Event-ID that is not this session's, or whose events are forgotten
"""

from __future__ import annotations

import asyncio
import logging

from mcp_types import JSONRPCNotification, JSONRPCRequest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rollproof.sessions.call import Call
from rollproof.sessions.events import OUTCOME_UNKNOWN, EventLog
from rollproof.sessions.inbound import SESSION_HEADER, Refused, owner_of, read_message, refusal
from rollproof.sessions.link import Link, StoreUnavailable
from rollproof.sessions.options import Options
from rollproof.sessions.outlet import close_with_client, priming, serve_events
from rollproof.sessions.registry import Registry, Session
from rollproof.sessions.serving import SESSION_ENDED, UNAVAILABLE, Serving
from rollproof.sessions.streams import Streams

_ALL_KNOW_WITHIN_S = 1.0

logger = logging.getLogger("rollproof.sessions")


class Endpoint:
    """`handle` is the ASGI application of one path."""

    def __init__(
        self, serving: Serving, streams: Streams, link: Link, registry: Registry, log: EventLog, options: Options
    ) -> None:
        self._serving = serving
        self._streams = streams
        self._link = link
        self._registry = registry
        self._log = log
        self._options = options
        self._ending: dict[str, tuple[set[str], asyncio.Event]] = {}
        self._ends = 0

    def close_session(self, session_id: str) -> None:
        """The session has ended somewhere: nothing of it goes on here."""
        self._registry.note_ended(session_id)
        self._serving.stop(SESSION_ENDED, session_id)
        self._streams.close_listener(session_id)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        session_id = request.headers.get(SESSION_HEADER)
        is_known = False
        try:
            session = await self._session(session_id, owner_of(scope)) if session_id is not None else None
            is_known = session is not None
            match request.method:
                case "POST":
                    await self._post(session, request, receive, send)
                case "GET":
                    await self._streams.serve(_required(session), self._serving.known_signer(), request, receive, send)
                case "DELETE":
                    await self._delete(_required(session))
                    await Response(headers={SESSION_HEADER: str(session_id)})(scope, receive, send)
                case _:
                    raise Refused(405, "Method Not Allowed", Allow="GET, POST, DELETE")
        except StoreUnavailable:
            refused = Refused(503, UNAVAILABLE, OUTCOME_UNKNOWN, **{"Retry-After": "1"})
            await refusal(refused, session_id if is_known else None)(scope, receive, send)
        except Refused as refused:
            await refusal(refused, session_id if is_known else None)(scope, receive, send)

    async def _session(self, session_id: str, owner: str | None) -> Session:
        """Raises Refused for one that is not this client's, in the words for one that is not there."""
        signer = self._serving.known_signer()
        session = await self._registry.find(session_id) if signer.is_session_id(session_id) else None
        if session is None or session.owner != owner:
            raise Refused(404, "Session not found")
        return session

    async def _post(self, session: Session | None, request: Request, receive: Receive, send: Send) -> None:
        message = await read_message(request, wants_json=self._options.json_response)
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            await self._initialize(session, message, request, receive, send)
            return
        session = _required(session)
        headers = {SESSION_HEADER: session.id}
        if isinstance(message, JSONRPCRequest):
            call = self._serving.begin(session, message, request)
            first = b""
            if session.can_resume:
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
        signer = self._serving.known_signer()
        session_id = session.id if session is not None else signer.new_session_id()
        call = await self._serving.initialize(session_id, owner_of(request.scope), message, request)
        await self._answer(call, b"", {SESSION_HEADER: session_id}, request, receive, send)

    async def _answer(
        self, call: Call, first: bytes, headers: dict[str, str], request: Request, receive: Receive, send: Send
    ) -> None:
        if not self._options.json_response:
            await serve_events(call.outlet, receive, send, headers, keepalive_s=self._options.keepalive_s, first=first)
            return
        watch = asyncio.create_task(close_with_client(receive, call.outlet))
        try:
            event = await call.outlet.get()
        finally:
            watch.cancel()
        if event is not None and event.is_last:
            response = Response(event.text, media_type="application/json", headers=headers)
            await response(request.scope, receive, send)

    def note_ended(self, name: str, replica: str) -> None:
        """`replica` knows of the end of a session that was asked for here under `name`."""
        unaware, all_know = self._ending.get(name, (set(), None))
        unaware.discard(replica)
        if all_know is not None and not unaware:
            all_know.set()

    async def _delete(self, session: Session) -> None:
        """Answered once every living replica knows: the next call is refused wherever it goes."""
        others = await self._link.others()
        await self._registry.end(session.id)
        await self._log.forget(session.id)
        self.close_session(session.id)
        self._ends += 1
        name, all_know = f"{self._link.replica}.{self._ends}", asyncio.Event()
        self._ending[name] = others, all_know
        self._link.tell_all({"t": "end", "session": session.id, "by": self._link.replica, "name": name})
        try:
            async with asyncio.timeout(_ALL_KNOW_WITHIN_S):
                if others:
                    await all_know.wait()
        except TimeoutError:
            logger.warning("%d replicas have not confirmed the end of a session", len(others))
        finally:
            del self._ending[name]


def _required(session: Session | None) -> Session:
    if session is None:
        raise Refused(400, "Bad Request: Missing session ID")
    return session
