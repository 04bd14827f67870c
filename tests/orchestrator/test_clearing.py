"""Ending what a stage has left: idempotent, whatever state its directory is in, and never somebody else's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rollproof.core.errors import Permanent
from rollproof.core.settings import Settings, TaskDefinition
from rollproof.core.timing import Timing
from rollproof.orchestrator import clearing
from rollproof.orchestrator.clearing import clear, clear_abandoned
from rollproof.orchestrator.ports import TaskSpec
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.stage_balancer import is_balancer_running, start_balancer
from rollproof.orchestrator.stage_files import PLAN_FILE, BalancerKind, StageLock, StagePlan, runtime_dir
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

BALANCERS = [BalancerKind.EMBEDDED, pytest.param(BalancerKind.NGINX, marks=NEEDS_NGINX)]
SLEEPER = (sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()")


@pytest.fixture
def root() -> Iterator[Path]:
    """Short: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as directory:
        yield Path(directory)


def a_task(state_dir: Path, number: int) -> TaskSpec:
    task_id = f"{number:032x}"
    return TaskSpec(
        task_id=task_id,
        task_arn=f"arn:aws:ecs:us-east-1:123456789012:task/cluster/{task_id}",
        cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/cluster",
        service="service",
        availability_zone="us-east-1a",
        definition=TaskDefinition(command=SLEEPER),
        environment={},
        log_path=state_dir / f"{number}.log",
        metadata={},
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "_SIGTERM_PATIENCE_S", 0.1)


class TestClear:
    async def test_nothing_there_is_no_error(self, root: Path) -> None:
        await clear(root / "stage")
        await clear(root / "stage")

    @pytest.mark.parametrize("balancer", BALANCERS)
    async def test_tasks_and_balancer_end_without_a_plan(
        self, root: Path, impatient: None, balancer: BalancerKind
    ) -> None:
        """The orchestrator was killed before it had written one. The task takes no notice of SIGTERM."""
        state_dir = root / "stage"
        runtime = ProcessRuntime(runtime_dir(state_dir))
        await runtime.start(a_task(state_dir, 1))
        plan = StagePlan(state_dir, root, Settings(), Timing(), {}, balancer=balancer)
        pid = int((await (await start_balancer(plan)).health())["pid"])
        assert is_balancer_running(plan)
        await clear(state_dir)
        assert not psutil.pid_exists(pid)
        assert not state_dir.exists()

    @pytest.mark.parametrize("plan", ["", "{}", '{"version": 99}'])
    async def test_a_plan_that_nobody_can_read_is_no_obstacle(self, root: Path, plan: str) -> None:
        state_dir = root / "stage"
        state_dir.mkdir()
        (state_dir / PLAN_FILE).write_text(plan)
        await clear(state_dir)
        assert not state_dir.exists()

    async def test_what_cannot_be_ended_is_named_and_the_directory_kept(
        self, root: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(runtime: ProcessRuntime, task_id: str) -> None:
            raise Permanent(f"task {task_id}: its agent does not end")

        state_dir = root / "stage"
        await ProcessRuntime(runtime_dir(state_dir)).start(a_task(state_dir, 2))
        with monkeypatch.context() as patched:
            patched.setattr(ProcessRuntime, "remove", refuse)
            with pytest.raises(Permanent, match="its agent does not end") as caught:
                await clear(state_dir)
        assert f"rollproof down --state-dir {state_dir}" in caught.value.hint
        await clear(state_dir)
        assert not state_dir.exists()


class TestAbandoned:
    def a_stage(self, root: Path, name: str) -> Path:
        state_dir = root / name / "stage"
        state_dir.mkdir(parents=True)
        (state_dir / PLAN_FILE).write_text(json.dumps({}))
        return state_dir

    async def test_a_killed_rehearsals_stage_is_ended(self, root: Path) -> None:
        state_dir = self.a_stage(root, "rollproof-dead")
        state_dir.with_name("stage.lock").write_text("999999999")
        assert await clear_abandoned(root) == [state_dir]
        assert os.listdir(root) == []

    async def test_one_that_runs_is_left_alone(self, root: Path) -> None:
        state_dir = self.a_stage(root, "rollproof-alive")
        holder = (
            "import sys; from pathlib import Path; from rollproof.orchestrator.stage_files import StageLock\n"
            "with StageLock(Path(sys.argv[1])): print(1, flush=True); sys.stdin.read()"
        )
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", holder, str(state_dir), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdout is not None
        await other.stdout.readline()
        assert await clear_abandoned(root) == []
        assert state_dir.exists()
        await other.communicate(b"")

    async def test_so_is_one_that_is_only_being_set(self, root: Path) -> None:
        """It has its lock, and no plan yet."""
        state_dir = root / "rollproof-young" / "stage"
        state_dir.mkdir(parents=True)
        with StageLock(state_dir):
            assert await clear_abandoned(root) == []
        assert state_dir.exists()

    async def test_and_whatever_else_is_called_so(self, root: Path) -> None:
        (root / f"rollproof-ports-{os.getuid()}").mkdir()
        (root / "rollproof-notes").write_text("")
        (root / "other" / "stage").mkdir(parents=True)
        assert await clear_abandoned(root) == []
        assert len(os.listdir(root)) == 3
