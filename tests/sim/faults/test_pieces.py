"""What faults take hold of, each by itself: a stopped process, a clock that is off, Redis, checks, a successor."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from rollproof.core.events import HealthCheckAnswered, ServiceUpdateRequested
from rollproof.core.settings import HealthCheck
from rollproof.orchestrator.health_checker import HealthChecker
from rollproof.orchestrator.loop import Orchestrator
from rollproof.sim.process import Programme, SimProcess
from rollproof.sim.succession import RuledChecker, Succession
from tests.sim.conftest import Play
from tests.sim.test_redis import client, started

HOST = "10.0.0.4"


def process(programme: Programme, log: Path, exits: list[int] | None = None) -> SimProcess:
    network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
    made = SimProcess("t1", HOST, {}, network, log, (exits if exits is not None else []).append)
    made.start(programme)
    return made


async def ticks_to_its_client(own: SimProcess) -> int:
    """Sends a byte a second to whoever connects, and echoes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def tick() -> None:
            while True:
                await asyncio.sleep(1.0)
                writer.write(b".")

        ticking = asyncio.create_task(tick())
        while data := await reader.read(100):
            writer.write(data)
        ticking.cancel()

    await asyncio.start_server(serve, "0.0.0.0", 8000)
    own.handlers[signal.SIGTERM] = own.signalled.set
    await own.signalled.wait()
    return 0


def test_nothing_reaches_or_leaves_a_stopped_process_until_it_goes_on(play: Play, tmp_path: Path) -> None:
    async def main() -> tuple[bytes, ...]:
        own = process(ticks_to_its_client, tmp_path / "log")
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(HOST, 8000)
        await asyncio.sleep(1.5)
        before = await reader.read(100)
        own.send_signal(signal.SIGSTOP)
        writer.write(b"hello")
        other, closing = await asyncio.open_connection(HOST, 8000)  # its kernel accepts all the same
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await reader.read(100)
        own.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
        after = await reader.read(100)
        for each in (writer, closing):
            each.close()
        del other
        return before, after

    before, after = play(main())
    assert before == b"."
    assert sorted(set(after)) == sorted(set(b".hello"))


def test_a_stopped_process_hears_of_sigterm_when_it_goes_on_and_dies_of_sigkill_at_once(
    play: Play, tmp_path: Path
) -> None:
    async def main() -> list[Any]:
        found: list[Any] = []
        for number in (signal.SIGCONT, signal.SIGKILL):
            exits: list[int] = []
            own = process(ticks_to_its_client, tmp_path / "log", exits)
            await asyncio.sleep(1.0)
            own.send_signal(signal.SIGSTOP)
            own.send_signal(signal.SIGTERM)
            await asyncio.sleep(10.0)
            found.append(list(exits))
            own.send_signal(number)
            await asyncio.sleep(1.0)
            found.append(list(exits))
        return found

    assert play(main()) == [[], [0], [], [137]]


def test_the_peers_of_a_stopped_process_that_is_killed_are_told(play: Play, tmp_path: Path) -> None:
    async def main() -> bytes:
        own = process(ticks_to_its_client, tmp_path / "log")
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(HOST, 8000)
        await asyncio.sleep(0.5)
        own.send_signal(signal.SIGSTOP)
        await asyncio.sleep(5.0)
        own.send_signal(signal.SIGKILL)
        async with asyncio.timeout(1.0):
            rest = await reader.read(100)
            while more := await reader.read(100):
                rest += more
        writer.close()
        return rest

    play(main())


def test_a_wall_clock_that_steps_is_one_processs_own_and_the_monotonic_one_goes_on(play: Play, tmp_path: Path) -> None:
    told: dict[str, tuple[float, float, float]] = {}

    async def tells_the_time(own: SimProcess) -> int:
        while True:
            told[own.name] = time.time(), datetime.now(UTC).timestamp(), time.monotonic()
            await asyncio.sleep(1.0)

    async def main() -> tuple[float, float, float]:
        own = process(tells_the_time, tmp_path / "log")
        await asyncio.sleep(0.5)
        before = told["t1"]
        own.wall_clock_s += 3600.0
        await asyncio.sleep(1.0)
        outside = time.time(), datetime.now(UTC).timestamp(), time.monotonic()
        own.send_signal(signal.SIGKILL)
        assert told["t1"][0] - before[0] == pytest.approx(3601.0, abs=0.001)
        assert told["t1"][1] - before[1] == pytest.approx(3601.0, abs=0.001)
        assert told["t1"][2] - before[2] == pytest.approx(1.0, abs=0.001)
        return outside

    wall, date, monotonic = play(main())
    assert wall == pytest.approx(told["t1"][0] - 3600.0, abs=0.6)
    assert date == pytest.approx(wall, abs=0.001)
    assert monotonic == pytest.approx(told["t1"][2], abs=0.6)


def test_redis_forgets_for_the_connections_that_are_open(play: Play) -> None:
    async def main() -> tuple[Any, ...]:
        server = await started()
        async with client(server) as redis:
            await redis.set("session", "state")
            before = await redis.get("session")
            server.forget()
            after = await redis.get("session")
            await redis.set("session", "new")
            return before, after, await redis.get("session"), server.keys

    assert play(main()) == ("state", None, "new", 1)


async def test_rules_change_the_answers_of_health_checks_and_only_while_they_stand() -> None:
    class Checker:
        async def check(
            self, node: str, target_id: str, address: str, health_check: HealthCheck
        ) -> HealthCheckAnswered:
            return HealthCheckAnswered(node, target_id, 200)

    checker = RuledChecker(cast("HealthChecker", Checker()))
    checker.rules["down"] = lambda answer: HealthCheckAnswered(answer.node, answer.target_id, 503)
    assert (await checker.check("node-0", "t", "t", HealthCheck())).status == 503
    checker.rules.clear()
    assert (await checker.check("node-0", "t", "t", HealthCheck())).status == 200


class Scheduler:
    """As much of an orchestrator as a succession needs; its world is a number."""

    def __init__(self, world: int) -> None:
        self.world, self.heard = world, list[Any]()
        self.runs = asyncio.Event()
        self._changed = asyncio.Condition()

    def tell(self, event: Any) -> None:
        self.heard.append(event)

    async def wait_for(self, condition: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.world))

    async def run(self) -> None:
        self.runs.set()
        if self.world < 0:
            raise ValueError("the world is upside down")
        await asyncio.Event().wait()


async def test_who_waits_for_a_killed_one_is_answered_by_its_successor_which_hears_what_was_said_meanwhile() -> None:
    first, second = Scheduler(1), Scheduler(2)
    succession = Succession(cast("Orchestrator", first), lambda: cast("Orchestrator", second))
    running = asyncio.create_task(succession.run())
    waiting = asyncio.create_task(succession.wait_for(lambda world: cast("Any", world) == 2))
    await first.runs.wait()
    succession.kill()
    succession.kill()
    event = ServiceUpdateRequested(desired_count=3)
    succession.tell(event)
    await succession.succeed()
    async with asyncio.timeout(5):
        await waiting
        await second.runs.wait()
    assert (first.heard, second.heard) == ([], [event])
    await succession.succeed()  # nobody was killed: it stays
    assert cast("Any", succession.world) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_one_that_ends_by_itself_carries_its_error() -> None:
    succession = Succession(cast("Orchestrator", Scheduler(-1)), lambda: cast("Orchestrator", Scheduler(1)))
    with pytest.raises(ValueError, match="upside down"):
        await succession.run()
