"""Synchronous code in threads: its time is virtual, and its place in the order of things is always the same."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest

from tests.sim.conftest import Play

IN_A_THREAD = {"anyio": anyio.to_thread.run_sync, "asyncio": asyncio.to_thread}


@pytest.mark.parametrize("library", IN_A_THREAD)
def test_sleeping_in_a_thread_takes_virtual_time_while_others_go_on(library: str, play: Play) -> None:
    async def main() -> tuple[float, list[float]]:
        loop, ticks = asyncio.get_running_loop(), []

        async def tick() -> None:
            while True:
                await asyncio.sleep(1)
                ticks.append(round(loop.time()))

        ticking, before = asyncio.create_task(tick()), loop.time()
        await IN_A_THREAD[library](lambda: time.sleep(4.5))
        ticking.cancel()
        return loop.time() - before, ticks

    took_s, ticks = play(main())
    assert took_s == pytest.approx(4.5, abs=0.01)
    assert len(ticks) == 4


@pytest.mark.parametrize("library", IN_A_THREAD)
def test_real_work_in_a_thread_takes_no_virtual_time(library: str, play: Play) -> None:
    def work() -> int:
        return sum(range(200_000))

    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        timer = loop.call_later(0.001, lambda: None)
        await IN_A_THREAD[library](work)
        timer.cancel()
        return loop.time() - before

    assert play(main()) < 0.001


def test_many_threads_end_in_the_same_order_each_time(play: Play) -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            await anyio.to_thread.run_sync(lambda: time.sleep(number % 3 * 0.5))
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(30)))
        return order

    first = play(main())
    assert sorted(first) == list(range(30))
    assert all(play(main()) == first for _ in range(5))


def test_more_threads_than_the_executor_has_wait_for_a_free_one(play: Play) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 1.0) for _ in range(13)))
        return loop.time() - before

    assert play(main()) == pytest.approx(3.0, abs=0.01)


def test_a_thread_may_call_back_into_the_loop(play: Play) -> None:
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        before = loop.time()

        async def answer() -> str:
            await asyncio.sleep(2)
            return "from the loop"

        said = await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(answer))
        return said, loop.time() - before

    said, took_s = play(main())
    assert said == "from the loop"
    assert took_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("library", IN_A_THREAD)
def test_what_a_thread_raises_arrives(library: str, play: Play) -> None:
    def fail() -> Any:
        raise LookupError("from a thread")

    async def main() -> None:
        await IN_A_THREAD[library](fail)

    with pytest.raises(LookupError, match="from a thread"):
        play(main())


def test_no_thread_is_left(play: Play) -> None:
    async def main() -> None:
        await anyio.to_thread.run_sync(lambda: time.sleep(1))
        await asyncio.to_thread(time.sleep, 1)

    before = set(threading.enumerate())
    play(main())
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left
