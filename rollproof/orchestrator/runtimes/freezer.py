"""Freezes tasks of the process runtime between two requests: SIGSTOP and SIGCONT to a task's process group.

What Lambda does with an execution environment (LAMBDA-DG/lambda-runtime-environment). Done by the balancer, which
alone knows when a request begins and ends; it finds the processes in the runtime's task directories by the address
it routes to. Each signal is preceded by a look whether the group still is of its task agent's session, so that
no process that somebody else started is ever stopped.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rollproof.orchestrator.runtimes.task_directory import TaskDirectory


class Freezer(Protocol):
    """Neither call raises; an address that nobody has is no error."""

    def freeze(self, address: str) -> None: ...

    def thaw(self, address: str) -> None: ...


class ProcessFreezer:
    """`tasks` is the directory of task directories (task_directory.py)."""

    def __init__(self, tasks: Path) -> None:
        self._tasks = tasks
        self._groups: dict[str, tuple[int, int]] = {}  # address -> process group, and its agent's pid

    def freeze(self, address: str) -> None:
        self._signal(address, signal.SIGSTOP)

    def thaw(self, address: str) -> None:
        self._signal(address, signal.SIGCONT)

    def _signal(self, address: str, number: signal.Signals) -> None:
        found = self._groups.get(address)
        if found is None or not _is_of(found):
            found = self._groups[address] = self._find(address) or (0, 0)
        if _is_of(found):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(found[0], number)

    def _find(self, address: str) -> tuple[int, int] | None:
        """The task that has this address now: its process group, and the agent whose session that is in."""
        with suppress(OSError):
            for path in self._tasks.iterdir():
                group = _group_at(TaskDirectory(path), address)
                if group is not None and _is_of(group):
                    return group
        return None


def _group_at(directory: TaskDirectory, address: str) -> tuple[int, int] | None:
    with suppress(OSError, ValueError, KeyError):  # removed, or half written, just now
        agent = directory.read_agent()
        if agent is None or directory.read_task()["address"] != address:
            return None
        started = next((record for record in directory.read_events()[0] if record["kind"] == "started"), None)
        return None if started is None else (int(started["pid"]), agent.pid)
    return None


def _is_of(group: tuple[int, int]) -> bool:
    """Whether the first process of the group lives, in its agent's session: the kernel's own word."""
    process, agent = group
    try:
        return process > 1 and os.getsid(process) == agent
    except (ProcessLookupError, PermissionError):
        return False
