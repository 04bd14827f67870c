"""Answers to a server's own requests, each sent as a request of its own, a moment after the question came.

They run beside the stream that brought the question: it is read on meanwhile, as a server may say more on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from rollproof.probe.answer import Answer
from rollproof.probe.dialect import Message
from rollproof.probe.options import ProbeOptions
from rollproof.probe.replies import mentions, reply_to_server, served_methods


class Expectation:
    """A question that a call of this client will bring. `refused` is the first answer to it that was not taken."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.asked = 0
        self.refused: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class Answering:
    """`post` sends one message. `root` is the file URI that a server is told when it asks for roots."""

    def __init__(self, options: ProbeOptions, post: Callable[[Message], Awaitable[Answer]]) -> None:
        self.root = "file:///rollproof"
        self._post = post
        self._delay_s = options.answer_delay_s
        self._served = served_methods(options.activities)
        self._expected: Expectation | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @contextmanager
    def expect(self, mark: str) -> Iterator[Expectation]:
        """One at a time. `mark` stands in the question."""
        self._expected = expectation = Expectation(mark)
        try:
            yield expectation
        finally:
            self._expected = None

    def take(self, message: Message) -> None:
        """Begin to answer, if it asks anything."""
        reply = reply_to_server(message, self._served, self.root)
        if reply is None:
            return
        task = asyncio.create_task(self._answer(message, reply))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """End what is under way."""
        tasks = tuple(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, question: Message, reply: Message) -> None:
        expected = self._expected
        is_expected = expected is not None and mentions(question, expected.mark)
        if "result" in reply and question.get("method") in self._served:
            await asyncio.sleep(self._delay_s)
        answer = await self._post(reply)
        if expected is not None and is_expected:
            expected.asked += 1
            if not answer.ok and not expected.refused.done():
                expected.refused.set_result(answer)
