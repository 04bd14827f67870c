"""One session of the probe: opens, repeats its operation until told to stop, reads once more, closes.

Sessions know nothing of each other. A session never gives up on its own: what fails is written down and the next
call is made, as an agent would, so that the record shows how long an outage lasted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rollproof.probe.activities import Activities
from rollproof.probe.answer import Answer, Outcome
from rollproof.probe.checker import SessionTruth
from rollproof.probe.client import McpClient
from rollproof.probe.judge import judge
from rollproof.probe.opening import Opening
from rollproof.probe.options import Activity, ProbeOptions, SessionIds
from rollproof.probe.plan import CallTool, Increment, ListTools, Plan, Step, Write
from rollproof.probe.records import SessionLog
from rollproof.probe.stream import Notices, hold_stream
from rollproof.probe.waiting import wait


@dataclass(frozen=True)
class Pace:
    """`first_pause_s`: ramp-up and phase, so that sessions do not call in step.

    `first_activity`: where in the cycle of activities it begins; `warm_activities`: how many it does to be warm.
    """

    first_pause_s: float
    is_slow: bool  # keeps a slow call in flight as well
    first_activity: int = 0
    warm_activities: int = 0


class ProbeSession:
    """`on_warm` is called once, after the first operation of which every step was well, and the first activities;
    `on_tried` after the first, however it ended.

    `mark` is like no other session's; `new_client` makes the clients of sessions that are opened only to be ended.
    """

    def __init__(
        self,
        name: str,
        options: ProbeOptions,
        plan: Plan,
        pace: Pace,
        *,
        mark: str,
        client: McpClient,
        new_client: Callable[[], McpClient],
        log: SessionLog,
        on_warm: Callable[[], None],
        on_tried: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = self._name = name
        self._options = options
        self._plan = plan
        self._pace = pace
        self._client = client
        self._log = log
        self._on_warm, self._on_tried = on_warm, on_tried
        self._truth = SessionTruth()
        self._number = 0
        self._is_warm = False
        self._has_begun = asyncio.Event()  # its first operation is done
        self._opening = Opening(options, plan, client, log, self._note_renewed)
        self._has_to_replay = False
        self._group: asyncio.TaskGroup | None = None  # while it works
        self._stream: asyncio.Task[None] | None = None
        self._notices = Notices()
        self._activities = Activities(
            mark,
            pace.first_activity,
            options,
            plan,
            client=client,
            new_client=new_client,
            opening=self._opening,
            notices=self._notices,
            log=log,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until all calls are made. Cancelled, it closes its connections and says no goodbye."""
        reason = "never opened"
        try:
            if not await wait(stop, self._pace.first_pause_s) and await self._opening.open(stop):
                await self._work(stop)
                reason = "stopped" if stop.is_set() else "all calls made"
                self._log.closed(reason, await self._opening.end())
            else:
                self._log.closed(reason, None)
        finally:
            self._activities.close()
            await self._client.close_wire()

    def lose_cookies(self) -> None:
        self._client.lose_cookies()

    async def _work(self, stop: asyncio.Event) -> None:
        over = asyncio.Event()
        slow_step = self._plan.slow_step() if self._pace.is_slow else None
        async with asyncio.TaskGroup() as self._group:
            slow = None
            self._hold_stream()
            if slow_step:
                slow = self._group.create_task(self._repeat_slow(slow_step, over))
            await self._repeat_operation(stop)
            over.set()
            self._has_begun.set()  # also where it was told to stop before that
            await self._activities.finish()
            if slow:
                await slow
            if slow or stop.is_set():
                await self._replay()
                await self._step(self._plan.last_read(), is_final=True)
            if self._stream:
                self._stream.cancel()

    def _hold_stream(self) -> None:
        """One stream a session: a renewed session gets its own, as a client opens it after each initialize."""
        is_wanted = self._options.open_streams or Activity.STREAM in self._plan.activities
        if not is_wanted or self._client.is_modern or self._group is None:
            return
        if self._stream:
            self._stream.cancel()
        stream = hold_stream(self._client, self._log, self._options.reconnect_s, self._notices)
        self._stream = self._group.create_task(stream)

    def _note_renewed(self) -> None:
        self._has_to_replay = self._options.replay
        if self._options.session_ids is not SessionIds.HANDLE:
            self._hold_stream()

    async def _replay(self) -> None:
        """Do again what this session has done: its state began anew, and its tools are idempotent.

        No answer is checked against what must be there, for it is only coming to be there again.
        """
        for _ in range(1 + self._options.retries):
            if not self._has_to_replay:
                return
            self._has_to_replay = False
            for number in range(1, self._number):
                await self._replay_operation(number)

    async def _replay_operation(self, number: int) -> None:
        for step in self._plan.steps(self._name, number):
            if isinstance(step, Write | Increment) and not self._has_to_replay:
                handle = self._opening.handle
                answer = await self._send(step, handle)
                self._log.call(answer, step.tool, number, replay=True)
                await self._opening.renew_after(answer, number, handle)

    async def _repeat_operation(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and (not self._options.calls or self._number < self._options.calls):
            self._number += 1
            is_ok = await self._operation(stop)
            self._has_begun.set()
            is_first = is_ok and not self._is_warm
            await self._do_activities(self._pace.warm_activities if is_first else 1, stop)
            if is_first:
                self._is_warm = True
                self._on_warm()
            if self._number == 1:
                self._on_tried()
            if self._number != self._options.calls:
                await wait(stop, self._options.delay_s)

    async def _do_activities(self, count: int, stop: asyncio.Event) -> None:
        """Behind the operation and not within it, so that a write and its read stay as close as without them."""
        for _ in range(count if self._plan.activities else 0):
            if await wait(stop, self._options.delay_s):
                return
            await self._activities.do_next(self._number)

    async def _operation(self, stop: asyncio.Event) -> bool:
        """One operation, repeated as a whole while it fails and may be. Once begun it is finished, without pauses
        if told to stop."""
        done: set[str] = set()
        for attempt in range(1 + self._options.retries):
            if attempt and await wait(stop, self._options.delay_s):
                return False
            if await self._attempt(attempt, done, stop):
                return True
        return False

    async def _attempt(self, attempt: int, done: set[str], stop: asyncio.Event) -> bool:
        is_ok = True
        await self._replay()
        for position, step in enumerate(self._plan.steps(self._name, self._number)):
            if position:
                await wait(stop, self._options.delay_s)
            if isinstance(step, Increment) and step.key in done:
                continue
            outcome, is_step_ok = await self._step(step, attempt=attempt)
            if isinstance(step, Increment) and not step.repeatable and outcome is not Outcome.REFUSED:
                done.add(step.key)
            is_ok = is_ok and is_step_ok
            if self._has_to_replay:
                return False  # the rest would be checked against a state that is not there again yet
        return is_ok

    async def _step(self, step: Step, *, attempt: int = 0, is_final: bool = False) -> tuple[Outcome, bool]:
        handle = self._opening.handle
        answer = await self._send(step, handle)
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
        await self._opening.renew_after(answer, self._number, handle)
        return answer.outcome, judgement.ok

    async def _send(self, step: Step, handle: str) -> Answer:
        match step:
            case ListTools():
                answer, _ = await self._client.list_tools()
                return answer
            case _:
                arguments = self._plan.arguments(step.tool, step.arguments, handle)
                return await self._client.call_tool(step.tool, arguments)

    async def _repeat_slow(self, step: CallTool, over: asyncio.Event) -> None:
        """In the modern era not beside the first call: no initialize came before it, so neither would carry a cookie,
        and the two answers would name two tasks."""
        if self._client.is_modern:
            await self._has_begun.wait()
        while not over.is_set():
            handle = self._opening.handle
            arguments = self._plan.arguments(step.tool, step.arguments, handle)
            answer = await self._client.call_tool(step.tool, arguments, progress=True)
            self._log.call(answer, step.tool, self._number)
            await self._opening.renew_after(answer, self._number, handle)
            await wait(over, self._options.delay_s)
