"""One MCP client: initialize, notify, call, resume, delete. What to call, and what it proves, is `session`'s affair.

The rules are those of MCP 2025-11-25 (basic/lifecycle, basic/transports) and 2026-07-28; see `dialect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from rollproof.probe.answer import STREAM_ENDED, Answer
from rollproof.probe.answering import Answering
from rollproof.probe.dialect import (
    LEGACY_VERSION,
    Dialect,
    Legacy,
    Message,
    Modern,
    initialize_params,
    notification,
    request,
)
from rollproof.probe.options import Era, ProbeOptions, SessionIds
from rollproof.probe.replies import capabilities
from rollproof.probe.wire import OnMessage, Wire

_PAGES = 50  # of tools/list: a server whose cursor never ends is not followed for ever
_RESUMPTIONS = 2  # attempts, as the MCP SDKs make them


class McpClient:
    """A client of one era. `client_session_id` is the id it makes for itself, should it need one (see SessionIds)."""

    def __init__(self, options: ProbeOptions, wire: Wire, client_session_id: str) -> None:
        self._options = options
        self._wire = wire
        self._client_session_id = client_session_id
        self._ids = count(1)
        self._capabilities = capabilities(options.activities)
        self._is_modern = options.era is Era.MODERN
        self._dialect: Dialect = Modern(capabilities=self._capabilities) if self._is_modern else Legacy()
        self.answering = Answering(options, self._post)
        self.session_id = ""
        self.session_id_by = ""  # "server", "client" or ""
        self.server_name = ""
        if self._is_modern:
            self._choose_session_id("")

    @property
    def is_modern(self) -> bool:
        return self._is_modern

    async def close_wire(self) -> None:
        await self.answering.close()
        await self._wire.close()

    def lose_cookies(self) -> None:
        """The session id stays; what leads back to its task is gone."""
        self._wire.lose_cookies()

    async def initialize(self) -> Answer:
        """Open a session without naming an earlier one. Its id and version are settled on success; until then the
        earlier ones stay, for whatever else this client has in flight."""
        answer = await self.request("initialize", initialize_params(self._capabilities))
        if answer.ok and answer.result is not None:
            self._dialect = Legacy(str(answer.result.get("protocolVersion", LEGACY_VERSION)))
            self._choose_session_id(answer.issued_session_id)
            info = answer.result.get("serverInfo")
            self.server_name = str(info.get("name", "")) if isinstance(info, Mapping) else ""
        return answer

    async def notify_initialized(self) -> Answer:
        return await self._post(notification("notifications/initialized"))

    async def list_tools(self) -> tuple[Answer, list[dict[str, Any]]]:
        """All pages. The answer is the last page's, or the first that failed."""
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            answer = await self.request("tools/list", {"cursor": cursor} if cursor else {})
            result = answer.result or {}
            page = result.get("tools")
            tools += [tool for tool in page if isinstance(tool, dict)] if isinstance(page, list) else []
            cursor = result.get("nextCursor")
            if not answer.ok or not isinstance(cursor, str):
                break
        return answer, tools

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        progress: bool = False,
        within_s: float | None = None,
        more: Mapping[str, Any] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> Answer:
        """`progress` asks for progress notifications; the answer counts them. `more`: other params of the call."""
        params = {"name": name, "arguments": dict(arguments), **(more or {})}
        return await self.request(
            "tools/call", params, name, progress=progress, within_s=within_s, extensions=extensions
        )

    async def call_tool_in_two(self, name: str, arguments: Mapping[str, Any], within_s: float) -> tuple[Answer, bool]:
        """Call, hang up once the server has numbered an event, and take the answer up on a new connection at once.

        False where nothing was numbered before the answer, so that there was nothing to take up from.
        """
        message, headers = self._compose("tools/call", {"name": name, "arguments": dict(arguments)}, name, True)
        answer = await self._wire.post(message, headers, self._on_message, within_s=within_s, breaks=True)
        if not answer.was_broken:
            return answer, False
        async with self._wire.on_new_connections() as wire:
            deadline = answer.started_t + within_s
            return await self._resume(message["id"], answer, wire, deadline, pauses=False), True

    async def listen(self, on_open: Callable[[Answer], None], on_message: OnMessage, last_event_id: str = "") -> Answer:
        """Hold the standalone GET stream until it ends. `on_message` sees what comes on it first."""

        async def take(message: Message) -> None:
            await on_message(message)
            await self._on_message(message)

        return await self._wire.listen(self._get_headers(last_event_id), on_open, take)

    async def delete(self) -> Answer | None:
        """End a session that the server issued; None where there is none to end."""
        if self.session_id_by != "server":
            return None
        answer = await self._wire.delete(self._dialect.headers("DELETE", "", self.session_id))
        self.session_id = self.session_id_by = ""
        return answer

    async def delete_on_a_new_connection(self) -> Answer:
        """Whatever the session's id is; it is kept, to be asked about."""
        async with self._wire.on_new_connections() as wire:
            return await wire.delete(self._dialect.headers("DELETE", "", self.session_id))

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        name: str = "",
        *,
        progress: bool = False,
        within_s: float | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Any request. `name` is the tool's or the task's; `within_s` by default the option's request timeout.
        `extensions` of the protocol that this request alone declares; a legacy one can declare none."""
        within_s = self._options.request_timeout_s if within_s is None else within_s
        message, headers = self._compose(method, params, name, progress, extensions)
        answer = await self._wire.post(message, headers, self._on_message, within_s=within_s)
        if answer.signature == STREAM_ENDED and self._may_resume(answer):
            return await self._resume(message["id"], answer, self._wire, answer.started_t + within_s)
        return answer

    def _compose(
        self,
        method: str,
        params: Mapping[str, Any],
        name: str,
        progress: bool,
        extensions: Mapping[str, Any] | None = None,
    ) -> tuple[Message, dict[str, str]]:
        request_id = next(self._ids)
        if progress:
            params = {**params, "_meta": {"progressToken": request_id}}
        dialect = self._dialect
        if extensions and isinstance(dialect, Modern):
            dialect = Modern(dialect.version, {**dialect.capabilities, "extensions": dict(extensions)})
        message = request(request_id, method, dialect.params(params))
        return message, dialect.headers(method, name, self.session_id)

    def _may_resume(self, answer: Answer) -> bool:
        return self._options.resume and bool(answer.last_event_id) and not self._is_modern

    async def _resume(
        self, request_id: int, broken: Answer, wire: Wire, deadline: float, *, pauses: bool = True
    ) -> Answer:
        """Take the answer up where its stream broke. If that fails, the break stays the answer.

        `pauses`: before the first attempt too, as a client whose stream was broken off does.
        """
        last, retry_ms = broken, broken.retry_ms
        for attempt in range(1, _RESUMPTIONS + 2 - pauses):
            pause_s = self._options.reconnect_s if retry_ms is None else retry_ms / 1000
            pause_s = pause_s if pauses or attempt > 1 else 0.0
            if last.finished_t + pause_s >= deadline:
                break
            await asyncio.sleep(pause_s)
            headers = self._get_headers(last.last_event_id or broken.last_event_id)
            within_s = deadline - last.finished_t - pause_s
            last = await wire.take_up(request_id, headers, self._on_message, within_s)
            if last.result is not None or last.rpc_error is not None:
                changes = broken.cookie_changes + last.cookie_changes
                progress = broken.progress + last.progress
                return replace(
                    last, started_t=broken.started_t, resumed=attempt, cookie_changes=changes, progress=progress
                )
            if last.signature != STREAM_ENDED:
                break
            retry_ms = retry_ms if last.retry_ms is None else last.retry_ms
        failure = "" if last is broken else last.signature
        return replace(broken, detail=f"{broken.detail}; resuming it: {last.signature}", resume_failure=failure)

    def _get_headers(self, last_event_id: str) -> dict[str, str]:
        headers = self._dialect.headers("GET", "", self.session_id) | {"Accept": "text/event-stream"}
        headers.pop("Content-Type", None)
        return headers | ({"Last-Event-ID": last_event_id} if last_event_id else {})

    def _choose_session_id(self, issued: str) -> None:
        match self._options.session_ids:
            case SessionIds.SERVER:
                self.session_id, self.session_id_by = issued, "server" if issued else ""
            case SessionIds.CLIENT:
                self.session_id, self.session_id_by = self._client_session_id, "client"
            case SessionIds.HANDLE:
                self.session_id = self.session_id_by = ""
            case SessionIds.AUTO:
                self.session_id = issued or self._client_session_id
                self.session_id_by = "server" if issued else "client"

    async def _post(self, message: Message) -> Answer:
        """What expects no answer: a notification, or a reply to the server."""
        headers = self._dialect.headers(str(message.get("method", "")), "", self.session_id)
        return await self._wire.post(message, headers, self._on_message)

    async def _on_message(self, message: Message) -> None:
        """Answer a server's request; take note of nothing else."""
        self.answering.take(message)
