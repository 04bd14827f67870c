"""Time jumps to the next deadline, for every clock that code may ask; chance repeats itself; then all is real again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.sim.virtual import EPOCH_S, virtual
from tests.sim.conftest import Play

CLOCKS = {
    "loop": lambda: asyncio.get_running_loop().time(),
    "monotonic": lambda: time.monotonic() + 0,  # looked up when called
    "perf_counter": lambda: time.perf_counter() + 0,  # looked up when called
    "monotonic_ns": lambda: time.monotonic_ns() / 1e9,
    "time": lambda: time.time() + 0,  # looked up when called
    "time_ns": lambda: time.time_ns() / 1e9,
    "datetime": lambda: datetime.datetime.now(datetime.UTC).timestamp(),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_an_hour_passes_on_every_clock_and_takes_no_time(clock: str, play: Play) -> None:
    async def wait() -> float:
        before = CLOCKS[clock]()
        await asyncio.sleep(3600)
        return float(CLOCKS[clock]() - before)

    began = time.perf_counter()
    assert play(wait()) == pytest.approx(3600, abs=1e-5)
    assert time.perf_counter() - began < 5


def test_it_begins_at_the_same_wall_clock_time_each_run(play: Play) -> None:
    async def now() -> float:
        return time.time()

    assert play(now()) == EPOCH_S
    assert play(now()) == EPOCH_S


def test_deadlines_come_in_order_and_equal_ones_in_the_order_of_being_set(play: Play) -> None:
    async def race() -> list[str]:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        for name, at in (("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0), ("b3", 2.0)):
            loop.call_later(at, told.append, name)
        await asyncio.sleep(5)
        return told

    told = play(race())
    assert told[0] == "a"
    assert sorted(told[1:4]) == ["b1", "b2", "b3"]
    assert told[4] == "c"
    assert told == play(race())


def test_waiting_for_a_rest_too_small_to_add_comes_to_an_end(play: Play) -> None:
    """1000.1 - 1000.0 is not 0.1: whoever waits for the difference of sums waits for a rest."""

    async def wait() -> int:
        loop, turns = asyncio.get_running_loop(), 0
        origin = loop.time()
        while (rest := 32.6123 - (loop.time() - origin)) > 0:
            turns += 1
            await asyncio.sleep(rest)
        return turns

    assert play(wait()) < 10


def test_a_standstill_is_an_error_and_no_hang(play: Play) -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Permanent, match="standstill"):
        play(wait_for_nothing())


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    async def draw() -> tuple[Any, ...]:
        return os.urandom(8), secrets.token_hex(8), str(uuid.uuid4()), random.random()

    def drawn(seed: int) -> tuple[Any, ...]:
        with virtual(seed) as loop:
            return tuple(loop.run_until_complete(draw()))

    assert drawn(1) == drawn(1)
    assert all(one != other for one, other in zip(drawn(1), drawn(2), strict=True))


def test_the_order_in_which_tasks_are_cancelled_is_that_of_their_making(play: Play) -> None:
    async def cancel_many() -> list[int]:
        ended: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(number)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(wait(number))
        return ended

    assert sorted(play(cancel_many())) == list(range(8))
    assert play(cancel_many()) == play(cancel_many())


def test_afterwards_everything_is_real_again() -> None:
    async def nothing() -> None:
        await asyncio.sleep(10)

    before = (time.monotonic, time.sleep, os.urandom, signal.signal, sys.stdout, sys.stderr)
    handler = signal.getsignal(signal.SIGTERM)
    with virtual(1) as loop:
        loop.run_until_complete(nothing())
    assert before == (time.monotonic, time.sleep, os.urandom, signal.signal, sys.stdout, sys.stderr)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert abs(time.time() - datetime.datetime.now(datetime.UTC).timestamp()) < 1
    assert time.time() > EPOCH_S


async def test_inside_of_another_loop_it_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError) as refused, virtual(1):
        pass
    assert "def test_" in refused.value.hint


def test_hash_order_does_not_matter() -> None:
    """The order of a set of strings differs from one program to the next; what is played does not."""
    script = (
        "import asyncio\nfrom rollproof.sim.virtual import virtual\n"
        "async def main():\n"
        "    told = []\n"
        "    async def say(i):\n"
        "        await asyncio.sleep(1)\n"
        "        told.append(i)\n"
        "    await asyncio.gather(*(say(i) for i in range(20)))\n"
        "    return told\n"
        "with virtual(3) as loop: print(loop.run_until_complete(main()))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
