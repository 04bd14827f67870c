"""One session of the probe: opens, repeats its operation until told to stop, reads once more, closes.

Sessions know nothing of each other. A session never gives up on its own: what fails is written down and the next
call is made, as an agent would, so that the record shows how long an outage lasted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rollproof.probe.answer import Answer, Outcome
from rollproof.probe.checker import SessionTruth
from rollproof.probe.client import McpClient
from rollproof.probe.judge import judge
from rollproof.probe.options import Era, ProbeOptions
from rollproof.probe.plan import CallTool, Increment, ListTools, Plan, Step
from rollproof.probe.records import SessionLog
from rollproof.probe.stream import hold_stream

_LEAST_PAUSE_S = 0.05  # before an initialize is repeated, whatever the delay


@dataclass(frozen=True)
class Pace:
    """`first_pause_s`: ramp-up and phase, so that sessions do not call in step."""

    first_pause_s: float
    is_slow: bool  # keeps a slow call in flight as well


class ProbeSession:
    """`on_warm` is called once, after the first operation of which every step was well; `on_tried` after the first."""

    def __init__(
        self,
        name: str,
        options: ProbeOptions,
        plan: Plan,
        pace: Pace,
        *,
        client: McpClient,
        log: SessionLog,
        on_warm: Callable[[], None],
        on_tried: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._options = options
        self._plan = plan
        self._pace = pace
        self._client = client
        self._log = log
        self._on_warm, self._on_tried = on_warm, on_tried
        self._truth = SessionTruth()
        self._number = 0
        self._is_warm = False
        self._opening = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until all calls are made. Cancelled, it closes its connections and says no goodbye."""
        reason = "never opened"
        try:
            if not await _wait(stop, self._pace.first_pause_s) and await self._open(stop):
                await self._work(stop)
                reason = "stopped" if stop.is_set() else "all calls made"
                self._log.closed(reason, await self._client.delete())
            else:
                self._log.closed(reason, None)
        finally:
            await self._client.close_wire()

    async def _work(self, stop: asyncio.Event) -> None:
        over = asyncio.Event()
        slow_step = self._plan.slow_step() if self._pace.is_slow else None
        async with asyncio.TaskGroup() as group:
            stream = slow = None
            if self._options.open_streams:
                stream = group.create_task(hold_stream(self._client, self._log, self._options.reconnect_s))
            if slow_step:
                slow = group.create_task(self._repeat_slow(slow_step, over))
            await self._repeat_operation(stop)
            over.set()
            if slow:
                await slow
            if slow or stop.is_set():
                await self._step(self._plan.last_read(), is_final=True)
            if stream:
                stream.cancel()

    async def _repeat_operation(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and (not self._options.calls or self._number < self._options.calls):
            self._number += 1
            is_ok = await self._operation(stop)
            if is_ok and not self._is_warm:
                self._is_warm = True
                self._on_warm()
            if self._number == 1:
                self._on_tried()
            if self._number != self._options.calls:
                await _wait(stop, self._options.delay_s)

    async def _operation(self, stop: asyncio.Event) -> bool:
        """One operation, repeated as a whole while it fails and may be. Once begun it is finished, without pauses
        if told to stop."""
        done: set[str] = set()
        for attempt in range(1 + self._options.retries):
            if attempt and await _wait(stop, self._options.delay_s):
                return False
            if await self._attempt(attempt, done, stop):
                return True
        return False

    async def _attempt(self, attempt: int, done: set[str], stop: asyncio.Event) -> bool:
        is_ok = True
        for position, step in enumerate(self._plan.steps(self._name, self._number)):
            if position:
                await _wait(stop, self._options.delay_s)
            if isinstance(step, Increment) and step.key in done:
                continue
            outcome, is_step_ok = await self._step(step, attempt=attempt)
            if isinstance(step, Increment) and not step.repeatable and outcome is not Outcome.REFUSED:
                done.add(step.key)
            is_ok = is_ok and is_step_ok
        return is_ok

    async def _step(self, step: Step, *, attempt: int = 0, is_final: bool = False) -> tuple[Outcome, bool]:
        answer = await self._send(step)
        judgement = judge(step, answer, self._truth, with_state=self._options.record_state)
        self._log.call(
            answer,
            step.tool,
            self._number,
            signature=judgement.signature,
            error=judgement.error,
            attempt=attempt or None,
            final=is_final,
            **judgement.fields,
        )
        await self._renew_after(answer)
        return answer.outcome, judgement.ok

    async def _send(self, step: Step) -> Answer:
        match step:
            case ListTools():
                answer, _ = await self._client.list_tools()
                return answer
            case _:
                return await self._client.call_tool(step.tool, step.arguments)

    async def _repeat_slow(self, step: CallTool, over: asyncio.Event) -> None:
        while not over.is_set():
            answer = await self._client.call_tool(step.tool, step.arguments, progress=True)
            self._log.call(answer, step.tool, self._number)
            await self._renew_after(answer)
            await _wait(over, self._options.delay_s)

    async def _open(self, stop: asyncio.Event) -> bool:
        """Initialize until it works, as often as there are calls to make; False if it never did."""
        if self._options.era is Era.MODERN:
            self._log.opened(self._client.session_id, self._client.session_id_by)
            return True
        failures = 0
        while not stop.is_set():
            if await self._initialize():
                self._log.opened(self._client.session_id, self._client.session_id_by)
                return True
            failures += 1
            if failures == self._options.calls:
                return False
            await _wait(stop, max(self._options.delay_s, _LEAST_PAUSE_S))
        return False

    async def _initialize(self) -> bool:
        answer = await self._client.initialize()
        self._log.call(answer, "initialize", self._number)
        if not answer.ok:
            return False
        notified = await self._client.notify_initialized()
        if not notified.ok:
            self._log.call(notified, "notifications/initialized", self._number)
        return True

    async def _renew_after(self, answer: Answer) -> None:
        """MCP 2025-11-25: a 404 to a request with a session id means a new session must be started. If that fails,
        the next call meets the same 404 and it is tried again."""
        gone = answer.sent_session_id
        if not self._options.reinitialise or answer.http_status != 404 or not gone:
            return
        async with self._opening:
            # A slow call's 404 may come when the session has been renewed already.
            if self._client.session_id == gone and await self._initialize():
                self._log.reinitialised(self._client.session_id, self._client.session_id_by, answer.signature)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, `seconds` at most; whether it is set."""
    if not event.is_set() and seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
    return event.is_set()
