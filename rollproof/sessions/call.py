"""One request being served on this replica, and the channels that its handler is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import ErrorData, RequestId
from pydantic_core import to_json

from rollproof.sessions.backchannel import Backchannel, Json
from rollproof.sessions.events import Event, EventLog
from rollproof.sessions.identity import Token
from rollproof.sessions.outlet import Outlet


class Call:
    """What the handler says goes to the client that called and to the log; only to the log once the client has left."""

    def __init__(
        self, session_id: str, request_id: RequestId, stream: Token, log: EventLog | None, *, is_stream: bool = True
    ) -> None:
        """`log` is None for an answer that cannot be taken up; without `is_stream` the answer is all that is said."""
        self.session_id = session_id
        self.request_id = request_id
        self.stream = stream
        self.outlet = Outlet()
        self.is_ended = False
        self.scope = anyio.CancelScope()  # level-triggered: a handler that lets one cancellation slip gets another
        self.stopped_by: ErrorData | None = None
        self._log = log
        self._is_stream = is_stream
        self._number = 0

    async def say(self, message: Json) -> None:
        """A notification or a request to the client."""
        if not self.is_ended and self._is_stream:
            await self._put(message, is_last=False)

    async def end(self, outcome: Json) -> None:
        """`{"result": ...}` or `{"error": ...}`; the first one stands."""
        if not self.is_ended:
            self.is_ended = True
            await self._put({"jsonrpc": "2.0", "id": self.request_id, **outcome}, is_last=True)

    async def _put(self, message: Json, *, is_last: bool) -> None:
        self._number += 1
        event = Event(f"{self.stream.text}/{self._number}", to_json(message).decode(), is_last)
        if self._log is not None:
            self._log.append(self.session_id, self.stream, self._number, event, wake=self.outlet.is_closed)
        await self.outlet.put(event)


@dataclass
class RequestChannel:
    """`DispatchContext` of the SDK for one message: what is said here goes to the stream of the call it belongs to."""

    transport: TransportContext
    message_metadata: ServerMessageMetadata
    backchannel: Backchannel
    call: Call | None = None  # None for a notification, which has no stream
    progress_token: str | int | None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    @property
    def request_id(self) -> RequestId | None:
        return self.call.request_id if self.call else None

    @property
    def can_send_request(self) -> bool:
        return self.call is not None and not self.call.is_ended and self.transport.can_send_request

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> Json:
        if self.call is None or not self.can_send_request:
            raise NoBackChannelError(method)
        return await self.backchannel.request(self.call.session_id, self.call.say, method, params, opts)

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        if self.call is not None:
            await self.call.say(notification(method, params))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is None:
            return
        params = {"progressToken": self.progress_token, "progress": progress, "total": total, "message": message}
        await self.notify(
            "notifications/progress", {name: value for name, value in params.items() if value is not None}
        )


@dataclass
class StandaloneChannel:
    """`Outbound` of the SDK for a session: its standalone stream, whichever replica holds that."""

    session_id: str
    log: EventLog
    backchannel: Backchannel

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> Json:
        return await self.backchannel.request(self.session_id, self._say, method, params, opts)

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        await self._say(notification(method, params))

    async def _say(self, message: Json) -> None:
        self.log.note(self.session_id, to_json(message).decode())


def notification(method: str, params: Mapping[str, Any] | None) -> Json:
    return {"jsonrpc": "2.0", "method": method} | ({"params": dict(params)} if params is not None else {})
