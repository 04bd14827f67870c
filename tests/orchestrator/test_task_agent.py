"""The task agent: its weight, its health counting, and what it tells a task about its own end."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.settings import TaskDefinition
from rollproof.orchestrator.runtimes.container_health import (
    TIMED_OUT,
    HealthCheckSettings,
    HealthCount,
    HealthLoop,
    run_check,
)
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
from rollproof.orchestrator.runtimes.process import ProcessRuntime
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory
from rollproof.testing.runtime_contract import DEADLINE_S, make_spec


def test_the_agent_imports_only_the_standard_library_and_little_of_ours() -> None:
    """It runs without site-packages; a heavy import would be paid once per task."""
    script = "import sys, rollproof.orchestrator.runtimes.task_agent; print(' '.join(sys.modules))"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    loaded = subprocess.run(
        [sys.executable, "-S", "-s", "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("rollproof")}
    others = {name.partition(".")[0] for name in loaded} - {"rollproof", "__main__"}
    assert others <= sys.stdlib_module_names
    assert not {"asyncio", "http", "ssl", "email", "logging"} & others
    assert all(name.startswith("rollproof.orchestrator") for name in ours - {"rollproof"})


class TestHealthCount:
    @pytest.mark.fidelity("ECS-TASK-33", source="API-ECS HealthCheck", mark="doc")
    @pytest.mark.parametrize(
        ("exit_codes", "retries", "start_period_s", "healthy"),
        [
            ([0], 3, 0, True),
            ([1], 3, 0, None),
            ([1, 1], 3, 0, None),
            ([1, 1, 1], 3, 0, False),
            ([1, 1, 0], 3, 0, True),
            ([0, 1, 1], 3, 0, True),
            ([0, 1, 1, 1], 3, 0, False),
            ([0, 1, 1, 0, 1, 1], 3, 0, True),
            ([1, 1, 1, 0], 3, 0, True),
            ([TIMED_OUT], 1, 0, False),
            # one check every 10 s; the start period forgives those at 10 and 20
            ([1, 1, 1, 1], 3, 25, None),
            ([1, 1, 1, 1, 1], 3, 25, False),
            ([0, 1, 1, 1], 3, 60, False),  # healthy once: its start is over
        ],
    )
    def test_answers_make_a_health(
        self, exit_codes: list[int], retries: int, start_period_s: float, healthy: bool | None
    ) -> None:
        settings = HealthCheckSettings(("true",), 10.0, 5.0, retries, start_period_s)
        count = HealthCount()
        for number, exit_code in enumerate(exit_codes, 1):
            count = count.after(exit_code, number * 10.0, settings)
        assert count.healthy is healthy


class TestHealthLoop:
    def test_only_changes_are_told(self) -> None:
        answers = itertools.chain([(0, ""), (0, ""), (1, "bad"), (1, "bad")], itertools.repeat((0, "")))
        told: list[bool] = []
        settings = HealthCheckSettings(("true",), 0.001, 1.0, 2, 0.0)
        loop = HealthLoop(settings, lambda: next(answers), told.append)
        loop.start()
        wait_for(lambda: len(told) == 3)
        loop.stop()
        assert told == [True, False, True]
        assert loop.latest.status == "HEALTHY"

    @pytest.mark.parametrize(
        ("command", "exit_code", "output"),
        [
            (("sh", "-c", "echo fine"), 0, "fine\n"),
            (("sh", "-c", "echo bad >&2; exit 3"), 3, "bad\n"),
            (("rollproof-no-such-program",), 126, "No such file"),
            (("sleep", "30"), TIMED_OUT, "exceeded timeout (0.05s)"),
        ],
    )
    def test_a_check_is_run(self, tmp_path: Path, command: tuple[str, ...], exit_code: int, output: str) -> None:
        settings = HealthCheckSettings(command, 1.0, 0.05 if "sleep" in command else 5.0, 1, 0.0)
        code, said = run_check(settings, {"PATH": os.environ["PATH"]}, str(tmp_path), os.getpgrp())
        assert code == exit_code
        assert output in said


@pytest.mark.fidelity("ECS-META-4", source="AGENT", mark="inferred")
async def test_a_task_reads_in_its_metadata_that_it_is_to_stop_and_how_healthy_it_is(tmp_path: Path) -> None:
    """A real agent; the task takes its time after SIGTERM, and DesiredStatus is STOPPED meanwhile."""
    script = "trap 'echo told' TERM; echo $ECS_CONTAINER_METADATA_URI_V4; while [ ! -e end ]; do sleep 0.01; done"
    runtime = ProcessRuntime(tmp_path / "runtime", {"slow": ImageSpec(("sh", "-c", script), tmp_path)})
    spec = make_spec("a" * 32, TaskDefinition(image="slow"), tmp_path)
    await runtime.start(spec)
    try:
        wait_for(lambda: spec.log_path.read_text().endswith("\n"))
        uri = spec.log_path.read_text().strip()
        task = read(f"{uri}/task")
        assert (task["TaskARN"], task["DesiredStatus"], task["KnownStatus"]) == (spec.task_arn, "RUNNING", "RUNNING")
        assert read(f"{uri}/stats")["memory_stats"]["usage"] > 0 or sys.platform != "linux"

        await runtime.signal(spec.task_id, "SIGTERM")

        wait_for(lambda: "told" in spec.log_path.read_text())
        task = read(f"{uri}/task")
        assert (task["DesiredStatus"], task["KnownStatus"]) == ("STOPPED", "RUNNING")
        assert task["ExecutionStoppedAt"] >= task["Containers"][0]["StartedAt"]
        (tmp_path / "end").touch()
        directory = TaskDirectory(tmp_path / "runtime" / "tasks" / spec.task_id)
        wait_for(directory.is_over)
    finally:
        await runtime.remove(spec.task_id)


def read(uri: str) -> Any:
    with urllib.request.urlopen(uri, timeout=DEADLINE_S) as answer:
        return json.load(answer)


def wait_for(condition: Any) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        os.sched_yield()
