"""Tasks that are frozen between two requests: real processes, real signals, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import PlatformSettings, Routing, TaskDefinition
from rollproof.orchestrator.balancers.embedded import BalancerOptions, EmbeddedBalancerClient, serve
from rollproof.orchestrator.runtimes.freezer import ProcessFreezer
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory, write_json
from rollproof.testing.balancer_wire import Wire, get
from rollproof.testing.runtime_contract import DEADLINE_S, make_spec

TASK = "a" * 32
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '$PORT', '--bind', '127.0.0.1'])"


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A task of two processes that answers; its address."""
    image = ImageSpec((sys.executable, "-c", CHILD), tmp_path)
    runtime = ProcessRuntime(tmp_path / "runtime", {"server": image})
    await runtime.start(make_spec(TASK, TaskDefinition(image="server"), tmp_path / "logs"))
    (found,) = await runtime.describe()
    await _answers(found.address)
    yield found.address
    await runtime.remove(TASK)


async def _answers(address: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with await Wire.to(int(address.rpartition(":")[2])) as wire:
                    assert (await wire.ask(get("/", Connection="close"))).status == 200
                return
            except ConnectionError:
                await asyncio.sleep(0.01)


def _states(tmp_path: Path) -> set[bool]:
    """Whether the processes of the task are stopped."""
    directory = TaskDirectory(tmp_path / "runtime" / "tasks" / TASK)
    pid = next(event["pid"] for event in directory.read_events()[0] if event["kind"] == "started")
    first = psutil.Process(pid)
    return {process.status() == psutil.STATUS_STOPPED for process in (first, *first.children())}


async def _until(tmp_path: Path, stopped: bool) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while _states(tmp_path) != {stopped}:
            await asyncio.sleep(0.002)


async def test_all_processes_of_a_task_stop_and_go_on(address: str, tmp_path: Path) -> None:
    freezer = ProcessFreezer(tmp_path / "runtime" / "tasks")
    for _ in range(2):
        freezer.freeze(address)
        await _until(tmp_path, stopped=True)
        freezer.thaw(address)
        await _until(tmp_path, stopped=False)
    await _answers(address)


async def test_a_frozen_task_is_removed_like_any_other(address: str, tmp_path: Path) -> None:
    ProcessFreezer(tmp_path / "runtime" / "tasks").freeze(address)
    await _until(tmp_path, stopped=True)
    runtime = ProcessRuntime(tmp_path / "runtime")
    await runtime.remove(TASK)
    assert await runtime.describe() == []


async def test_behind_the_balancer_a_task_runs_only_while_it_has_a_request(address: str, tmp_path: Path) -> None:
    options = BalancerOptions(
        tmp_path / "access.log", control=tmp_path / "c.sock", tasks=tmp_path / "runtime" / "tasks"
    )
    target = RoutableTarget(address, address, "healthy", new=True, sticky=True)
    table = RoutingTable(1, (NodeTable("node-0", (target,)),), platform=PlatformSettings(routing=Routing.EXCLUSIVE))
    async with serve(options) as balancer:
        await EmbeddedBalancerClient(tmp_path / "c.sock", options.access_log).publish(table)
        for _ in range(3):
            async with await Wire.to(balancer.port) as wire:
                assert (await wire.ask(get("/"))).status == 200
            await _until(tmp_path, stopped=True)


async def test_a_process_that_is_not_of_the_tasks_agent_is_left_alone(tmp_path: Path) -> None:
    """As if the task's processes were gone and their numbers had been given to somebody else."""
    tasks = tmp_path / "runtime" / "tasks"
    directory = TaskDirectory(tasks / TASK)
    directory.path.mkdir(parents=True)
    stranger = await asyncio.to_thread(subprocess.Popen, ["sleep", "60"], start_new_session=True)
    try:
        write_json(directory.task, {"address": "127.0.0.1:1"})
        write_json(directory.agent, {"pid": os.getpid(), "started_at": 0.0})
        directory.append("started", pid=stranger.pid)
        freezer = ProcessFreezer(tasks)
        freezer.freeze("127.0.0.1:1")
        freezer.freeze("127.0.0.1:2")
        assert psutil.Process(stranger.pid).status() != psutil.STATUS_STOPPED
        write_json(directory.agent, {"pid": stranger.pid, "started_at": 0.0})  # now it is: the signal does arrive
        freezer.freeze("127.0.0.1:1")
        async with asyncio.timeout(DEADLINE_S):
            while psutil.Process(stranger.pid).status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.002)
    finally:
        stranger.send_signal(signal.SIGKILL)
        stranger.wait()


def test_without_any_task_there_is_nothing_to_freeze(tmp_path: Path) -> None:
    ProcessFreezer(tmp_path / "absent").freeze("127.0.0.1:1")
