"""A session's activities, one after each operation and in turn, so that calls stay short and close to each other.

Whatever becomes of one, the session goes on with its operations: activities are judged apart. Each writes one record,
of the answer that decided. An announcement is watched for in the background, as it may come later than the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rollproof.probe import activity as judging
from rollproof.probe.activity import ActivityOutcome, Asked, Attempt, failed, told
from rollproof.probe.answer import Answer
from rollproof.probe.client import McpClient
from rollproof.probe.opening import Opening
from rollproof.probe.options import Activity, ProbeOptions
from rollproof.probe.plan import ANNOUNCE, TOOL_OF, Plan
from rollproof.probe.records import SessionLog
from rollproof.probe.replies import input_responses
from rollproof.probe.side_session import delete_one
from rollproof.probe.stream import Notices
from rollproof.probe.tasks import run_as_task
from rollproof.probe.waiting import wait

_ROUNDS = 4  # of questions in one call
_STEPS = 4  # of a slow call
_ECHO_S = 0.3  # after the first arrival
_WITHOUT_STREAM = "the server offers the session no stream"


class Activities:
    """`mark` is like no other session's. `first` is the place in the cycle to begin at, counted from 0."""

    def __init__(
        self,
        mark: str,
        first: int,
        options: ProbeOptions,
        plan: Plan,
        *,
        client: McpClient,
        new_client: Callable[[], McpClient],
        opening: Opening,
        notices: Notices,
        log: SessionLog,
    ) -> None:
        self._mark = mark
        self._turn = first
        self._options = options
        self._plan = plan
        self._client = client
        self._new_client = new_client
        self._opening = opening
        self._notices = notices
        self._log = log
        self._number = 0
        self._watching: set[asyncio.Task[None]] = set()
        self._is_over = asyncio.Event()

    async def do_next(self, number: int) -> None:
        """The next one, as part of operation `number`."""
        activity = self._plan.activities[self._turn % len(self._plan.activities)]
        self._turn += 1
        self._number = number
        attempt: Attempt | None
        match activity:
            case Activity.ELICITATION | Activity.SAMPLING | Activity.ROOTS:
                attempt = await self._ask(activity)
            case Activity.PROGRESS:
                attempt = await self._progress()
            case Activity.STREAM:
                attempt = await self._announce()
            case Activity.RESUME:
                attempt = await self._resume()
            case Activity.DELETE:
                attempt = await delete_one(self._new_client(), self._plan, self._options)
            case Activity.TASKS:
                attempt = await run_as_task(
                    self._client, self._plan.slow_call(self._options.activity_slow_s), self._options
                )
        if attempt is not None:
            self._write(activity, number, attempt)
            if activity is not Activity.DELETE:
                await self._opening.renew_after(attempt.answer, number, self._opening.handle)

    async def finish(self) -> None:
        """Write down what is still watched for: no longer than an announcement may take."""
        self._is_over.set()
        await asyncio.gather(*self._watching)

    def close(self) -> None:
        for task in self._watching:
            task.cancel()

    def _write(self, activity: Activity, number: int, attempt: Attempt) -> None:
        self._log.activity(activity, number, attempt, is_side_session=activity is Activity.DELETE)

    async def _ask(self, activity: Activity) -> Attempt:
        mark = self._next_mark()
        question = f"What is {mark}?"
        tool = TOOL_OF[activity]
        offered = {"question": question, "token": mark, "prompt": question}
        arguments = {name: offered[name] for name in self._plan.tools[tool] if name in offered}
        self._client.answering.root = judging.root_of(mark)
        ask = self._ask_by_round_trip if self._client.is_modern else self._ask_by_request
        return judging.judge_asked(activity, tool, await ask(tool, arguments, mark), question, mark)

    async def _ask_by_request(self, tool: str, arguments: Mapping[str, Any], mark: str) -> Asked:
        """Legacy: the server asks in mid-call. A refused answer ends the wait: the call would hang to its timeout."""
        with self._client.answering.expect(mark) as expected:
            call = asyncio.ensure_future(self._call(tool, arguments))
            try:
                await asyncio.wait((call, expected.refused), return_when=asyncio.FIRST_COMPLETED)
                if call.done() and (call.result().ok or not expected.refused.done()):
                    return Asked(call.result())
                return Asked(expected.refused.result(), is_refused=True)
            finally:
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    async def _ask_by_round_trip(self, tool: str, arguments: Mapping[str, Any], _mark: str) -> Asked:
        """Modern (SEP-2322): the call ends with the question, and is made again with the answer."""
        answer = await self._call(tool, arguments)
        started_t = answer.started_t
        for _ in range(_ROUNDS):
            responses = input_responses(answer.result or {}, self._client.answering.root)
            if responses is None:
                break
            more: dict[str, Any] = {"inputResponses": responses}
            if answer.result and (state := answer.result.get("requestState")) is not None:
                more["requestState"] = state
            await asyncio.sleep(self._options.answer_delay_s)
            again = await self._call(tool, arguments, more=more)
            answer = replace(again, started_t=started_t)
            if again.rpc_error is not None or (again.http_status or 0) >= 400:
                return Asked(answer, is_refused=True)
        return Asked(answer)

    async def _progress(self) -> Attempt:
        step = self._plan.slow_call(self._options.activity_slow_s, _STEPS)
        answer = await self._call(step.tool, step.arguments, progress=True)
        return judging.judge_progress(step.tool, answer, step.arguments.get("steps", 0))

    async def _resume(self) -> Attempt:
        step = self._plan.slow_call(self._options.activity_slow_s, _STEPS)
        within_s = self._options.activity_timeout_s
        answer, was_broken = await self._client.call_tool_in_two(step.tool, step.arguments, within_s)
        return judging.judge_resumed(step.tool, answer, was_broken=was_broken)

    async def _announce(self) -> Attempt | None:
        """None where the outcome is written later."""
        within_s = self._options.notice_within_s
        has_stream = not self._client.is_modern and await self._notices.wait_for_offer(within_s)
        text = f"notice {self._next_mark()}"
        arrival = self._notices.expect(text)
        names = [name for name in self._plan.tools[ANNOUNCE] if name == "text"] or list(self._plan.tools[ANNOUNCE])[:1]
        answer = await self._call(ANNOUNCE, dict.fromkeys(names, text))
        if not answer.ok or not has_stream:
            self._notices.forget(text)
            return failed(ANNOUNCE, answer) if not answer.ok else _without_stream(answer, self._notices)
        task = asyncio.create_task(self._watch(text, arrival, answer, self._number))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return None

    async def _watch(self, text: str, arrival: asyncio.Event, answer: Answer, number: int) -> None:
        """As long as it may take, and as long again for one that is late, or comes twice."""
        within_s = self._options.notice_within_s
        is_late = not await wait(arrival, within_s)
        if await wait(arrival if is_late else self._is_over, within_s):
            await asyncio.sleep(min(_ECHO_S, within_s))  # its session is at its end, and a second one may be on its way
        count = self._notices.count(text)
        self._notices.forget(text)
        attempt = judging.judge_notice(ANNOUNCE, answer, count, is_late=is_late, within_s=within_s)
        self._write(Activity.STREAM, number, attempt)

    async def _call(
        self, tool: str, arguments: Mapping[str, Any], *, progress: bool = False, more: Mapping[str, Any] | None = None
    ) -> Answer:
        arguments = self._plan.arguments(tool, arguments, self._opening.handle)
        within_s = self._options.activity_timeout_s
        return await self._client.call_tool(tool, arguments, progress=progress, within_s=within_s, more=more)

    def _next_mark(self) -> str:
        return f"{self._mark}/{self._number}.{self._turn}"


def _without_stream(answer: Answer, notices: Notices) -> Attempt:
    if notices.is_refused:
        return told(ANNOUNCE, answer, ActivityOutcome.UNSUPPORTED, _WITHOUT_STREAM)
    return told(ANNOUNCE, answer, ActivityOutcome.MISSING, "the session's stream could not be opened")
