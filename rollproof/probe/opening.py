"""How a session begins, and begins anew: initialize in the legacy era, a handle where the server mints them.

Legacy: MCP 2025-11-25, a 404 to a request with a session id means that a new session must be started. With handles a
tool error says that the session is unknown. Whether a client begins anew at all, is an option: most do not, and then
every later call meets the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.options import ProbeOptions, SessionIds
from rollproof.probe.plan import CREATE, END, HANDLE, Plan
from rollproof.probe.records import SessionLog
from rollproof.probe.waiting import wait

NO_HANDLE = "tool-error: no session in the answer"

_LEAST_PAUSE_S = 0.05  # before it is tried again, whatever the delay


class Opening:
    """`handle` is the session's, "" where there are none. `on_renewed` is called after each new beginning."""

    def __init__(
        self,
        options: ProbeOptions,
        plan: Plan,
        client: McpClient,
        log: SessionLog,
        on_renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self.handle = ""
        self._options = options
        self._plan = plan
        self._client = client
        self._log = log
        self._on_renewed = on_renewed
        self._has_handles = options.session_ids is SessionIds.HANDLE
        self._lock = asyncio.Lock()

    async def open(self, stop: asyncio.Event) -> bool:
        """Until it works, as often as there are calls to make; False if it never did."""
        failures = 0
        while not stop.is_set():
            if await self._begin(0):
                self._log.opened(*self._identity)
                return True
            failures += 1
            if failures == self._options.calls:
                return False
            await wait(stop, max(self._options.delay_s, _LEAST_PAUSE_S))
        return False

    async def renew_after(self, answer: Answer, number: int, handle: str = "") -> None:
        """Begin anew if the answer says that the session is gone and this client may. `handle` is what was sent.

        If that fails, the next call meets the same answer and it is tried again.
        """
        if not self._options.reinitialise:
            return
        gone = answer.sent_session_id
        is_gone = answer.is_unknown_handle if self._has_handles else bool(gone) and answer.http_status == 404
        if not is_gone:
            return
        async with self._lock:
            # A slow call may be told so when the session has been renewed already.
            is_current = handle == self.handle if self._has_handles else self._client.session_id == gone
            if is_current and await self._renew(number):
                self._log.reinitialised(*self._identity, answer.signature)
                self._on_renewed()

    async def end(self) -> Answer | None:
        """The answer to the request that ends the session; None where there is none to end."""
        if not self._has_handles:
            return await self._client.delete()
        if not self.handle or END not in self._plan.tools:
            return None
        return await self._client.call_tool(END, self._plan.arguments(END, {}, self.handle))

    @property
    def _identity(self) -> tuple[str, str]:
        if self._has_handles:
            return self.handle, "handle"
        return self._client.session_id, self._client.session_id_by

    async def _begin(self, number: int) -> bool:
        if not self._client.is_modern and not await self._initialize(number):
            return False
        return not self._has_handles or await self._create(number)

    async def _renew(self, number: int) -> bool:
        return await (self._create(number) if self._has_handles else self._initialize(number))

    async def _initialize(self, number: int) -> bool:
        answer = await self._client.initialize()
        self._log.call(answer, "initialize", number)
        if not answer.ok:
            return False
        notified = await self._client.notify_initialized()
        if not notified.ok:
            self._log.call(notified, "notifications/initialized", number)
        return True

    async def _create(self, number: int) -> bool:
        answer = await self._client.call_tool(CREATE, {})
        handle = answer.payload.get(HANDLE)
        is_minted = answer.ok and isinstance(handle, str) and handle != ""
        self._log.call(answer, CREATE, number, signature=NO_HANDLE if answer.ok and not is_minted else "")
        self.handle = str(handle) if is_minted else self.handle
        return is_minted
