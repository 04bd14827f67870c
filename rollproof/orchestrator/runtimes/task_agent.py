"""The task agent: one tiny process per task that stays with it while orchestrators come and go.

    python -m rollproof.orchestrator.runtimes.task_agent <task directory>

What containerd's shim is to a container: it detaches from whoever started it, starts the task in a process
group of its own, passes signals on, runs the container health check, serves the task's endpoints, reaps the
task, kills what the task left behind, and writes all that happened to the task directory. Then it ends.

    start    returns to the caller (exit code 0) once the task runs, or its failure is written down
    signals  are for the task: what the agent receives it hands to the task's first process, as the
             container runtime signals PID 1 and no other (API-ECS StopTask); SIGKILL cannot be caught,
             so a runtime sends that one to the task's group itself
    death    of the agent takes the task along (Linux), or is noticed by the runtime, which kills the group

Imports the standard library only, and little of it: it is up in some 30 ms and takes some 12 MB.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

from rollproof.orchestrator.runtimes import containment
from rollproof.orchestrator.runtimes.container_health import HealthCheckSettings, HealthLoop, run_check
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition, TaskFacts
from rollproof.orchestrator.runtimes.resources import sample_group, used_mib
from rollproof.orchestrator.runtimes.start_failures import log_failure, start_failure
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory, read_json, write_json
from rollproof.orchestrator.runtimes.task_endpoint import TaskEndpoint
from rollproof.orchestrator.runtimes.task_protection import Protection

FORWARDED = tuple(
    number
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGCONT")
    if (number := getattr(signal, name, None)) is not None
)
"""The signals that an image's STOPSIGNAL may name here."""


class Launch(NamedTuple):
    """launch.json: how to start the task. Holds secrets."""

    argv: list[str]
    environment: dict[str, str]
    working_directory: str
    log_path: str
    stop_signal: str
    has_init: bool  # an init is PID 1 (initProcessEnabled): signals take their default action
    health_check: list[Any] | None  # fields of HealthCheckSettings
    speed: float  # rehearsal seconds in one real second


class TaskAgent:
    """Start the task, see it through, write down its end."""

    def __init__(self, directory: TaskDirectory, facts: TaskFacts, launch: Launch) -> None:
        self._directory, self._launch = directory, launch
        self._condition = TaskCondition()
        self._health: HealthLoop | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint = TaskEndpoint(facts, self._describe, self._sample, self._protect, launch.speed)
        self._environment = {**launch.environment, **self._endpoint.environment}

    def start(self) -> subprocess.Popen[bytes] | None:
        """Start the task's process; None if it cannot be, which is then written down."""
        containment.inherit_orphans()
        for number in FORWARDED:
            signal.signal(number, self._forward)
        try:
            log = self._open_log()
        except OSError as error:
            self._fail(log_failure(error))
            return None
        try:
            process = self._process = self._spawn(log)
        except (OSError, subprocess.SubprocessError) as error:
            self._fail(start_failure(self._launch.argv[0], self._launch.working_directory, error))
            return None
        self._condition = self._condition._replace(started_at=time.time())
        self._endpoint.start()
        self._start_health_checks(process.pid)
        self._directory.append("started", pid=process.pid)
        return process

    def supervise(self, process: subprocess.Popen[bytes]) -> None:
        """Until the task's first process has ended and everything it left behind is gone."""
        exit_code = self._wait(process)
        containment.kill_children()
        self._endpoint.close()
        self._directory.append("exited", exit_code=exit_code, reason="")

    def abandon(self) -> None:
        """The agent itself has failed: leave nothing running."""
        if self._process is not None:
            containment.kill_group(self._process.pid)
            containment.kill_children()

    def _fail(self, reason: str) -> None:
        self._directory.append("start_failed", reason=reason)

    def _open_log(self) -> BinaryIO:
        path = Path(self._launch.log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        with log:
            return subprocess.Popen(
                self._launch.argv,
                env=self._environment,
                cwd=self._launch.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=containment.die_with_parent(),  # noqa: PLW1509 - no thread exists yet
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code as ECS shows it. The group is killed before its first process is reaped: until
        then the kernel gives its number to no other."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            self._process = None  # it has ended: signals from here on are for nobody
            containment.kill_group(process.pid)
            returned = process.wait()
        else:  # macOS before Python 3.13
            returned = process.wait()
            self._process = None
            containment.kill_group(process.pid)
        if self._health:
            self._health.stop()
        return 128 - returned if returned < 0 else returned

    def _start_health_checks(self, group: int) -> None:
        if self._launch.health_check is None:
            return
        settings = HealthCheckSettings(*self._launch.health_check)

        def run() -> tuple[int, str]:
            return run_check(settings, self._environment, self._launch.working_directory, group)

        def tell(healthy: bool) -> None:
            self._directory.append("health", healthy=healthy)

        self._health = HealthLoop(settings, run, tell)
        self._health.start()

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        """Runs between two bytecodes of the main thread, which never holds a lock that matters here."""
        if number in (signal.SIGTERM, getattr(signal, self._launch.stop_signal, None)):
            now = self._condition.execution_stopped_at or time.time()
            self._condition = self._condition._replace(desired_status="STOPPED", execution_stopped_at=now)
        process = self._process
        if process is not None and (self._launch.has_init or containment.pid1_takes(process.pid, number)):
            os.kill(process.pid, number)

    def _describe(self) -> TaskCondition:
        health = self._health.latest if self._health else None
        return self._condition._replace(health=health, ephemeral_storage_mib=used_mib(self._directory.tmp))

    def _sample(self) -> ResourceSample | None:
        return sample_group(self._process.pid) if self._process else None

    def _protect(self, protection: Protection) -> None:
        self._directory.append(
            "protection",
            enabled=protection.enabled,
            expires_in_minutes=protection.expires_in_minutes,
            expires_at=protection.expires_at,
        )


def detach() -> int:
    """Leave the caller's session and process tree. Returns the pipe on which to say "ready".

    The first process stays until then and ends with 0, or with 1 if the agent died before: so the caller
    waits for one short child, and the agent is nobody's zombie.
    """
    readable, writable = os.pipe()
    if os.fork():
        os.close(writable)
        os._exit(0 if os.read(readable, 1) else 1)
    os.setsid()
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whatever the caller had blocked
    os.close(readable)
    return writable


def say_ready(pipe: int) -> None:
    os.write(pipe, b"!")
    os.close(pipe)


def main(path: str) -> None:
    directory = TaskDirectory(Path(path))
    pipe = detach()
    lock = directory.hold_lock()
    if lock is None or directory.read_events()[0]:
        say_ready(pipe)  # another agent has this task, or has had it
        return
    agent = TaskAgent(directory, TaskFacts(**directory.read_task()["facts"]), Launch(**read_json(directory.launch)))
    write_json(directory.agent, {"pid": os.getpid(), "started_at": time.time()})
    try:
        process = agent.start()
        directory.launch.unlink()
        say_ready(pipe)
        if process is not None:
            agent.supervise(process)
    except BaseException:
        agent.abandon()
        raise


if __name__ == "__main__":
    main(sys.argv[1])
