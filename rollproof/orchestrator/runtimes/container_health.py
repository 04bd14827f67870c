"""The container's own `healthCheck`: a pure counter, and the thread that runs the command.

API-ECS HealthCheck; the counting is Docker's, which runs it on ECS: the first check comes one interval after
the start, the next one an interval after the last has ended. `retries` failures in a row make UNHEALTHY, one
success makes HEALTHY. Within `start_period_s` failures do not count, unless the container has been healthy
before. Until either is reached the health is UNKNOWN and nothing is reported.

Imports the standard library only, and little of it: every task agent loads this module.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rollproof.orchestrator.runtimes.metadata import ContainerHealth

OUTPUT_LIMIT = 4_096  # characters of a check's output that are kept, as Docker does
TIMED_OUT = -1  # Docker's exit code of a check that was killed at its timeout

RunCheck = Callable[[], tuple[int, str]]
"""Runs the command once, at most its timeout long: its exit code and output."""


class HealthCheckSettings(NamedTuple):
    """`command` is what to exec, resolved; durations are real seconds."""

    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int
    start_period_s: float


class HealthCount(NamedTuple):
    """Where the counting stands."""

    healthy: bool | None = None  # None: UNKNOWN
    failures: int = 0

    def after(self, exit_code: int, age_s: float, settings: HealthCheckSettings) -> HealthCount:
        """The count after one more answer, `age_s` after the container's start.

        retries 3, start period 10: fails at 5 (not counted), 15, 25, 35 -> UNHEALTHY at 35.
        """
        if exit_code == 0:
            return HealthCount(healthy=True)
        if self.healthy is None and age_s < settings.start_period_s:
            return self
        failures = self.failures + 1
        return HealthCount(False if failures >= settings.retries else self.healthy, failures)


class HealthLoop:
    """Checks on an interval until stopped; tells `on_change` of every change of health."""

    def __init__(self, settings: HealthCheckSettings, run: RunCheck, on_change: Callable[[bool], None]) -> None:
        self._settings = settings
        self._run = run
        self._on_change = on_change
        self._stopped = threading.Event()
        self._started_at = time.time()
        self.latest = ContainerHealth("UNKNOWN", self._started_at)

    def start(self) -> None:
        threading.Thread(target=self._check_until_stopped, name="container-health", daemon=True).start()

    def stop(self) -> None:
        """No change is reported from here on."""
        self._stopped.set()

    def _check_until_stopped(self) -> None:
        count = HealthCount()
        while not self._stopped.wait(self._settings.interval_s):
            exit_code, output = self._run()
            if self._stopped.is_set():
                return
            before, count = count, count.after(exit_code, time.time() - self._started_at, self._settings)
            self._remember(count, before, exit_code, output)
            if count.healthy is not None and count.healthy != before.healthy:
                self._on_change(count.healthy)

    def _remember(self, count: HealthCount, before: HealthCount, exit_code: int, output: str) -> None:
        status = {None: "UNKNOWN", True: "HEALTHY", False: "UNHEALTHY"}[count.healthy]
        since = self.latest.since if count.healthy == before.healthy else time.time()
        self.latest = ContainerHealth(status, since, exit_code, output)


def run_check(
    settings: HealthCheckSettings, environment: dict[str, str], working_directory: str, group: int
) -> tuple[int, str]:
    """Run the command inside the task's process group, so that it dies with the task. Never raises."""
    try:
        check = subprocess.Popen(
            settings.command,
            env=environment,
            cwd=working_directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=group,
        )
    except (OSError, subprocess.SubprocessError) as error:  # no such program, or the task has just gone
        return 126, str(error)[:OUTPUT_LIMIT]
    with check:
        try:
            output, _ = check.communicate(timeout=settings.timeout_s)
        except subprocess.TimeoutExpired:
            check.kill()
            return TIMED_OUT, f"Health check exceeded timeout ({settings.timeout_s:g}s)"
    return check.returncode, output.decode(errors="replace")[:OUTPUT_LIMIT]
