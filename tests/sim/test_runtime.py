"""Tasks in one process keep what every runtime promises, and die as processes do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollproof.core.settings import ContainerHealthCheck, TaskDefinition
from rollproof.orchestrator.ports import Runtime, TaskSpec
from rollproof.sim.agent import SimAgent
from rollproof.sim.process import SimProcess
from rollproof.sim.runtime import SimRuntime
from rollproof.testing.runtime_contract import Behaviour, RuntimeContract, make_spec
from tests.sim.conftest import Play

CHECK = ContainerHealthCheck(("CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"), interval_s=1.0, retries=2)


async def steady(process: SimProcess) -> int:
    await answers(process, b"200 OK")
    await asyncio.get_running_loop().create_future()
    return 0


async def stubborn(process: SimProcess) -> int:
    process.handlers[signal.SIGTERM] = lambda: None
    await asyncio.get_running_loop().create_future()
    return 0


async def unwell(process: SimProcess) -> int:
    await answers(process, b"503 Service Unavailable")
    await asyncio.get_running_loop().create_future()
    return 0


async def ends_with_7(_: SimProcess) -> int:
    return 7


async def answers(_: SimProcess, status: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    await asyncio.start_server(handle, port=8000)


IMAGES = {
    Behaviour.STEADY: steady,
    Behaviour.STUBBORN: stubborn,
    Behaviour.ENDS_WITH_7: ends_with_7,
    Behaviour.BECOMES_HEALTHY: steady,
    Behaviour.TURNS_UNHEALTHY: unwell,
}


class SimRuntimeStage:
    """The runtime is the machine that the tasks run on: what a new orchestrator finds is the same one."""

    def __init__(self, runtime: SimRuntime, logs: Path) -> None:
        self._runtime, self._logs = runtime, logs

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    def spec(self, task_id: str, behaviour: Behaviour) -> TaskSpec:
        check = CHECK if behaviour in (Behaviour.BECOMES_HEALTHY, Behaviour.TURNS_UNHEALTHY) else None
        return make_spec(task_id, TaskDefinition(image=behaviour.value, health_check=check), self._logs)

    def replace_runtime(self) -> Runtime:
        return self._runtime


async def protects_itself(process: SimProcess) -> int:
    """As a task does: a PUT to the agent that its environment names."""
    async with httpx.AsyncClient(trust_env=False) as client:
        url = process.environment["ECS_AGENT_URI"] + "/task-protection/v1/state"
        answer = await client.put(url, json={"ProtectionEnabled": True, "ExpiresInMinutes": 30})
        assert answer.json()["protection"]["ProtectionEnabled"] is True
    return await steady(process)


class TestSimRuntimeKeepsTheContract(RuntimeContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[SimRuntimeStage]:
        network: Any = asyncio.get_running_loop().network  # type: ignore[attr-defined]
        agent = SimAgent()
        await agent.start()
        images = IMAGES | {Behaviour.PROTECTS_ITSELF: protects_itself}
        runtime = SimRuntime(network, {name.value: programme for name, programme in images.items()}, agent=agent)
        yield SimRuntimeStage(runtime, tmp_path)
        await runtime.close()
        network.close()

    @pytest.mark.parametrize(("behaviour", "error"), [(Behaviour.NOT_PULLABLE, "CannotPullContainerError: ")])
    async def test_a_failed_start_is_reported_in_the_words_of_ecs(
        self, stage: Any, log: Any, new_id: Any, behaviour: Behaviour, error: str
    ) -> None:
        """Only what an application can fail by: there is no program that could be missing."""
        await super().test_a_failed_start_is_reported_in_the_words_of_ecs(stage, log, new_id, behaviour, error)


def test_a_task_reads_its_own_metadata_as_on_fargate(tmp_path: Path, play: Play) -> None:
    found: list[dict[str, Any]] = []

    async def reader(process: SimProcess) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            uri = process.environment["ECS_CONTAINER_METADATA_URI_V4"]
            found.append((await client.get(f"{uri}/task")).json())
            process.handlers[signal.SIGTERM] = lambda: None
            await process.signalled.wait()
            found.append((await client.get(f"{uri}/task")).json())
        return 0

    async def main() -> None:
        agent = SimAgent()
        await agent.start()
        runtime = SimRuntime(asyncio.get_running_loop().network, {"i": reader}, agent=agent)  # type: ignore[attr-defined]
        for task_id in ("a" * 32, "b" * 32):
            await runtime.start(make_spec(task_id, TaskDefinition(image="i"), tmp_path))
        await asyncio.sleep(5)
        await runtime.signal("b" * 32, "SIGTERM")
        await asyncio.sleep(5)

    play(main())
    assert [task["TaskARN"].rpartition("/")[2][0] for task in found] == ["a", "b", "b"]
    assert [task["DesiredStatus"] for task in found] == ["RUNNING", "RUNNING", "STOPPED"]


def test_what_a_killed_process_still_does_reaches_nobody(tmp_path: Path, play: Play) -> None:
    """A coroutine's `finally` runs when it is cancelled; after a SIGKILL nothing would have."""
    received: list[bytes] = []

    async def listener(process: SimProcess) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.append(await reader.read())
            writer.close()

        await asyncio.start_server(handle, port=8000)
        await asyncio.get_running_loop().create_future()
        return 0

    async def sender(process: SimProcess) -> int:
        _, writer = await asyncio.open_connection("10.0.0.1", 8000)
        writer.write(b"while alive;")
        try:
            await asyncio.sleep(100)
        finally:
            writer.write(b"after death")
            process.write_log("after death")
            writer.close()
        return 0

    async def main() -> list[int]:
        exits: list[int] = []
        network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
        SimProcess("listener", "10.0.0.1", {}, network, tmp_path / "1.log", lambda _: None).start(listener)
        victim = SimProcess("sender", "10.0.0.2", {}, network, tmp_path / "2.log", exits.append)
        victim.start(sender)
        await asyncio.sleep(10)
        victim.send_signal(signal.SIGKILL)
        await asyncio.sleep(10)
        return exits

    assert play(main()) == [137]
    assert received == [b"while alive;"]
    assert not (tmp_path / "2.log").exists()
