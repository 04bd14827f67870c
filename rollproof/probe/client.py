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
from rollproof.probe.dialect import (
    LEGACY_VERSION,
    Dialect,
    Legacy,
    Message,
    Modern,
    initialize_params,
    notification,
    reply_to_server,
    request,
)
from rollproof.probe.options import Era, ProbeOptions, SessionIds
from rollproof.probe.wire import Wire

_PAGES = 50  # of tools/list: a server whose cursor never ends is not followed for ever
_RESUMPTIONS = 2  # attempts, as the MCP SDKs make them


class McpClient:
    """`client_session_id` is the id this client makes for itself, should it need one (see SessionIds)."""

    def __init__(self, options: ProbeOptions, wire: Wire, client_session_id: str) -> None:
        self._options = options
        self._wire = wire
        self._client_session_id = client_session_id
        self._ids = count(1)
        self._dialect: Dialect = Modern() if options.era is Era.MODERN else Legacy()
        self.session_id = ""
        self.session_id_by = ""  # "server", "client" or ""
        self.server_name = ""
        if options.era is Era.MODERN:
            self._choose_session_id("")

    async def close_wire(self) -> None:
        await self._wire.close()

    async def initialize(self) -> Answer:
        """Open a session without naming an earlier one. Its id and version are settled on success; until then the
        earlier ones stay, for whatever else this client has in flight."""
        answer = await self._request("initialize", initialize_params())
        if answer.ok and answer.result is not None:
            self._dialect = Legacy(str(answer.result.get("protocolVersion", LEGACY_VERSION)))
            self._choose_session_id(answer.issued_session_id)
            info = answer.result.get("serverInfo")
            self.server_name = str(info.get("name", "")) if isinstance(info, Mapping) else ""
        return answer

    async def notify_initialized(self) -> Answer:
        method = "notifications/initialized"
        headers = self._dialect.headers(method, "", self.session_id)
        return await self._wire.post(notification(method), headers, self._on_message)

    async def list_tools(self) -> tuple[Answer, list[dict[str, Any]]]:
        """All pages. The answer is the last page's, or the first that failed."""
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            answer = await self._request("tools/list", {"cursor": cursor} if cursor else {})
            result = answer.result or {}
            page = result.get("tools")
            tools += [tool for tool in page if isinstance(tool, dict)] if isinstance(page, list) else []
            cursor = result.get("nextCursor")
            if not answer.ok or not isinstance(cursor, str):
                break
        return answer, tools

    async def call_tool(self, name: str, arguments: Mapping[str, Any], *, progress: bool = False) -> Answer:
        """`progress` asks for progress notifications; the answer counts them."""
        params: dict[str, Any] = {"name": name, "arguments": dict(arguments)}
        return await self._request("tools/call", params, name, progress=progress)

    async def listen(self, on_open: Callable[[Answer], None], last_event_id: str = "") -> Answer:
        """Hold the standalone GET stream until it ends."""
        return await self._wire.listen(self._get_headers(last_event_id), on_open, self._on_message)

    async def delete(self) -> Answer | None:
        """End a session that the server issued; None where there is none to end."""
        if self.session_id_by != "server":
            return None
        answer = await self._wire.delete(self._dialect.headers("DELETE", "", self.session_id))
        self.session_id = self.session_id_by = ""
        return answer

    async def _request(
        self, method: str, params: Mapping[str, Any], name: str = "", *, progress: bool = False
    ) -> Answer:
        request_id = next(self._ids)
        if progress:
            params = {**params, "_meta": {"progressToken": request_id}}
        message = request(request_id, method, self._dialect.params(params))
        headers = self._dialect.headers(method, name, self.session_id)
        answer = await self._wire.post(message, headers, self._on_message)
        if answer.signature == STREAM_ENDED and self._may_resume(answer):
            return await self._resume(request_id, answer)
        return answer

    def _may_resume(self, answer: Answer) -> bool:
        return self._options.resume and bool(answer.last_event_id) and self._options.era is Era.LEGACY

    async def _resume(self, request_id: int, broken: Answer) -> Answer:
        """Take the answer up where its stream broke. If that fails, the break stays the answer."""
        deadline = broken.started_t + self._options.request_timeout_s
        last, retry_ms = broken, broken.retry_ms
        for attempt in range(1, _RESUMPTIONS + 1):
            pause_s = self._options.reconnect_s if retry_ms is None else retry_ms / 1000
            if last.finished_t + pause_s >= deadline:
                break
            await asyncio.sleep(pause_s)
            headers = self._get_headers(last.last_event_id or broken.last_event_id)
            within_s = deadline - last.finished_t - pause_s
            last = await self._wire.take_up(request_id, headers, self._on_message, within_s)
            if last.result is not None or last.rpc_error is not None:
                changes = broken.cookie_changes + last.cookie_changes
                progress = broken.progress + last.progress
                return replace(
                    last, started_t=broken.started_t, resumed=attempt, cookie_changes=changes, progress=progress
                )
            if last.signature != STREAM_ENDED:
                break
            retry_ms = retry_ms if last.retry_ms is None else last.retry_ms
        return replace(broken, detail=f"{broken.detail}; resuming it: {last.signature}")

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
            case SessionIds.AUTO:
                self.session_id = issued or self._client_session_id
                self.session_id_by = "server" if issued else "client"

    async def _on_message(self, message: Message) -> None:
        """Answer a server's request; take note of nothing else."""
        if reply := reply_to_server(message):
            await self._wire.post(reply, self._dialect.headers("", "", self.session_id), self._on_message)
