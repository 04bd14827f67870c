"""Finding and killing what a dead task agent has left running.

An agent that ends in order leaves nothing. One that was killed does: its task's processes. They are known
by what they carry, not by a process id that may mean another process by now: the task's own TMPDIR in their
environment (a task id would not do: another rehearsal on this machine may count up to the same one), or
membership of the agent's session.
"""

from __future__ import annotations

import contextlib
import os
import time

import psutil

from rollproof.orchestrator.runtimes.task_directory import AgentRecord, TaskDirectory

CLOCK_SLACK_S = 1.0  # psutil's create_time is precise to a clock tick, and boot time to a second
PATIENCE_S = 2.0


def kill_leftovers(directory: TaskDirectory) -> int:
    """SIGKILL every process of the task, with all its descendants, and wait for their end. How many there were."""
    agent = directory.read_agent()
    members = {process.pid: process for process in psutil.process_iter() if _belongs(process, directory, agent)}
    for process in list(members.values()):
        with contextlib.suppress(psutil.Error):
            members.update((child.pid, child) for child in process.children(recursive=True))
    for process in members.values():
        with contextlib.suppress(psutil.Error):
            process.kill()
    give_up_at = time.monotonic() + PATIENCE_S
    while any(_runs(process) for process in members.values()) and time.monotonic() < give_up_at:
        time.sleep(0.005)
    return len(members)


def _runs(process: psutil.Process) -> bool:
    """A zombie does not: it only waits for init to take notice, which may be long."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _belongs(process: psutil.Process, directory: TaskDirectory, agent: AgentRecord | None) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        if not _runs(process):
            return False
        if process.environ().get("TMPDIR") == str(directory.tmp):
            return True
        return (
            agent is not None
            and process.pid != agent.pid
            and os.getsid(process.pid) == agent.pid
            and process.create_time() >= agent.started_at - CLOCK_SLACK_S
        )
    except (psutil.Error, OSError):  # gone, or another user's: not ours
        return False
