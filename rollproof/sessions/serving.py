"""Runs requests and notifications of handshake-era sessions on this replica: the SDK's own handlers, our channels.

Every message gets a `Connection` of its own, filled in from the session's record. So nothing of a session stays here
between two of its messages: not for the SDK either (`connection.state` and its exit stack last for one message).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from itertools import count
from typing import Any

from fastmcp import FastMCP
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.runner import ServerRunner, aclose_shielded, serve_one
from mcp.shared.dispatcher import as_request_id, coerce_request_id
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import CONNECTION_CLOSED, ErrorData, JSONRPCNotification, JSONRPCRequest
from starlette.requests import Request

from rollproof.sessions import sdk
from rollproof.sessions.backchannel import Backchannel, Json
from rollproof.sessions.call import Call, RequestChannel, StandaloneChannel
from rollproof.sessions.events import OUTCOME_UNKNOWN, EventLog
from rollproof.sessions.identity import Signer
from rollproof.sessions.link import Link, StoreUnavailable
from rollproof.sessions.options import Options
from rollproof.sessions.registry import Registry, Session

STREAM = "stream"
UNAVAILABLE = "the session store cannot be reached now; the session is not lost, try again"
REQUEST_CANCELLED = -32800  # what the SDK answers a cancelled request with (mcp.server.streamable_http)

logger = logging.getLogger("rollproof.sessions")


# Why a call was ended before its handler.
CANCELLED = ErrorData(code=REQUEST_CANCELLED, message="Request cancelled")
SESSION_ENDED = ErrorData(code=CONNECTION_CLOSED, message="Connection closed")
SHUT_DOWN = ErrorData(
    code=OUTCOME_UNKNOWN,
    message="this replica stopped before the call had ended; whether it was carried out is unknown",
)


class Serving:
    """`signer` is known once Redis has been reached, or a secret was given."""

    def __init__(
        self,
        mcp: FastMCP[Any],
        server: Server[Any],
        lifespan_state: Any,
        link: Link,
        registry: Registry,
        log: EventLog,
        options: Options,
    ) -> None:
        self._mcp = mcp
        self._server = server
        self._lifespan_state = lifespan_state
        self._link = link
        self._registry = registry
        self._log = log
        self._options = options
        self._numbers = count(1)
        self._calls: dict[Call, asyncio.Task[None]] = {}
        self._notified: set[asyncio.Task[None]] = set()
        self.signer: Signer | None = None
        self.backchannel = Backchannel(link, self.known_signer)

    @property
    def calls_in_flight(self) -> int:
        return len(self._calls)

    def begin(self, session: Session, message: JSONRPCRequest, request: Request) -> Call:
        """Serve a request of a session; the call goes on when its client leaves."""
        call = self._new_call(session.id, message)
        if not self._options.json_response:
            self._log.started(session.id, call.stream, message.id)
        can_close = session.can_resume and not self._options.json_response
        channel = self._channel(request, call, message.params, can_close=can_close)
        task = asyncio.create_task(self._run(call, session, message, channel))
        self._calls[call] = task
        task.add_done_callback(lambda _: self._calls.pop(call, None))
        return call

    async def initialize(self, session_id: str, owner: str | None, message: JSONRPCRequest, request: Request) -> Call:
        """Serve `initialize` to its end and record the session. Raises StoreUnavailable."""
        call = self._new_call(session_id, message)
        connection = Connection.for_loop(self._standalone(session_id), session_id=session_id)
        channel = self._channel(request, call, message.params, can_close=False)
        outcome = await self._outcome(call, message, channel, connection)
        if "result" in outcome and connection.client_params is not None:
            await self._registry.open(Session(session_id, owner, connection.client_params, connection.protocol_version))
        await call.end(outcome)
        return call

    def notify(self, session: Session, message: JSONRPCNotification, request: Request) -> None:
        """A notification of the client, to the server's handler; a cancellation to whichever replica it concerns."""
        if message.method == "notifications/cancelled":
            request_id = as_request_id((message.params or {}).get("requestId"))
            if request_id is not None and not self.stop(CANCELLED, session.id, request_id):
                self._link.tell_all({"t": "cancel", "session": session.id, "id": request_id})
        task = asyncio.create_task(self._notify(session, message, request))
        self._notified.add(task)
        task.add_done_callback(self._notified.discard)

    def stop(self, why: ErrorData, session_id: str | None = None, request_id: str | int | None = None) -> bool:
        """End the calls of a session (or one of them, or all there are) with an error; whether there were any."""
        has_any = False
        for call in list(self._calls):
            is_meant = session_id in (None, call.session_id)
            if request_id is not None:
                is_meant = is_meant and coerce_request_id(request_id) == coerce_request_id(call.request_id)
            if is_meant:
                has_any = True
                call.stopped_by = call.stopped_by or why
                call.scope.cancel()
        return has_any

    async def finish(self, within_s: float) -> None:
        """Wait for the calls that are still being served; then end them with an error."""
        if self._calls:
            await asyncio.wait(list(self._calls.values()), timeout=max(0.0, within_s))
        self.stop(SHUT_DOWN)
        if tasks := [*self._calls.values(), *self._notified]:
            await asyncio.wait(tasks, timeout=1.0)

    def _new_call(self, session_id: str, message: JSONRPCRequest) -> Call:
        stream = self.known_signer().token(STREAM, session_id, self._link.replica, next(self._numbers))
        is_stream = not self._options.json_response
        log = self._log if is_stream and message.method != "initialize" else None
        return Call(session_id, message.id, stream, log, is_stream=is_stream)

    def known_signer(self) -> Signer:
        """Raises StoreUnavailable while it is not known."""
        if self.signer is None:
            raise StoreUnavailable
        return self.signer

    def _connection(self, session: Session) -> Connection:
        connection = Connection.for_loop(
            self._standalone(session.id), session_id=session.id, protocol_version_hint=session.version
        )
        connection.client_params = session.client
        connection.initialized.set()
        sdk.set_log_level(self._mcp, connection, session.id, session.log_level)
        return connection

    def _standalone(self, session_id: str) -> StandaloneChannel:
        return StandaloneChannel(session_id, self._log, self.backchannel)

    async def _run(self, call: Call, session: Session, message: JSONRPCRequest, channel: RequestChannel) -> None:
        outcome = await self._outcome(call, message, channel, self._connection(session))
        if message.method == "logging/setLevel" and "result" in outcome:
            outcome = await self._keep_log_level(session, (message.params or {}).get("level"), outcome)
        await call.end(outcome)

    async def _keep_log_level(self, session: Session, level: str | None, outcome: Json) -> Json:
        session.log_level = level
        try:
            await self._registry.save(session)
        except StoreUnavailable:
            return {"error": _error(ErrorData(code=OUTCOME_UNKNOWN, message=UNAVAILABLE))}
        self._link.tell_all({"t": "changed", "session": session.id, "by": self._link.replica})
        return outcome

    async def _outcome(
        self, call: Call, message: JSONRPCRequest, channel: RequestChannel, connection: Connection
    ) -> Json:
        with call.scope:
            try:
                result = await serve_one(
                    self._server,
                    channel,
                    message.method,
                    message.params,
                    connection=connection,
                    lifespan_state=self._lifespan_state,
                )
            except Exception as error:
                known = handler_exception_to_error_data(error)
                if known is None:
                    logger.exception("handler for %r raised", message.method)
                # Code 0 and the text: what the SDK's dispatcher answers.
                return {"error": _error(known or ErrorData(code=0, message=str(error)))}
            return {"result": result}
        return {"error": _error(call.stopped_by or SHUT_DOWN)}

    def _channel(
        self, request: Request, call: Call | None, params: Mapping[str, Any] | None, *, can_close: bool
    ) -> RequestChannel:
        async def close() -> None:
            if call is not None:
                call.outlet.close()

        can_send = call is not None and not self._options.json_response
        return RequestChannel(
            TransportContext(kind="streamable-http", can_send_request=can_send, headers=request.headers),
            ServerMessageMetadata(
                request_context=request, close_sse_stream=close if can_close else None, can_send_request=can_send
            ),
            self.backchannel,
            call,
            progress_token_from_params(params) if call is not None else None,
        )

    async def _notify(self, session: Session, message: JSONRPCNotification, request: Request) -> None:
        connection = self._connection(session)
        channel = self._channel(request, None, message.params, can_close=False)
        try:
            runner = ServerRunner(self._server, connection, self._lifespan_state)
            await runner.on_notify(channel, message.method, message.params)
        finally:
            await aclose_shielded(connection)


def _error(error: ErrorData) -> Json:
    return error.model_dump(mode="json", by_alias=True, exclude_none=True)
