"""From a task's event records to the runtime's container events, and the bell that says there are some."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from types import TracebackType

from rollproof.core.events import (
    ContainerEvent,
    ContainerExited,
    ContainerHealthChanged,
    ContainerStarted,
    ContainerStartFailed,
    TaskProtectionChanged,
)
from rollproof.orchestrator.runtimes.task_directory import Record
from rollproof.orchestrator.runtimes.task_protection import remaining


def present_of(records: list[Record]) -> list[Record]:
    """A task's past as its present: of each kind the last record, in order."""
    last = {record["kind"]: number for number, record in enumerate(records)}
    return [records[number] for number in sorted(last.values())]


def container_event(task_id: str, address: str, record: Record, now: float, speed: float) -> ContainerEvent:
    """One record of events.jsonl, as it stands `now`: of a protection, what is left of it."""
    match record["kind"]:
        case "started":
            return ContainerStarted(task_id, address)
        case "start_failed":
            return ContainerStartFailed(task_id, record["reason"])
        case "exited":
            return ContainerExited(task_id, record["exit_code"], record["reason"])
        case "health":
            return ContainerHealthChanged(task_id, record["healthy"])
        case "protection":
            left = remaining(record["enabled"], record["expires_in_minutes"], record["expires_at"], now, speed)
            return TaskProtectionChanged(task_id, left.enabled, left.expires_in_minutes)
    raise ValueError(f"task {task_id}: unknown event record {record!r}")


class Bell:
    """The FIFO that agents ring. Two listeners may share it: whom a ring does not reach looks on its poll.

    A FIFO and not a socket: its path may be of any length, and without a listener a ring is an error
    (ENXIO) and not a packet to whoever has the address now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rung = asyncio.Event()

    def __enter__(self) -> Bell:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o600)
        self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._keeper = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # no EOF between rings
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._reader)
        os.close(self._reader)
        os.close(self._keeper)

    async def wait(self, timeout_s: float) -> None:
        """Until rung since the last wait, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4_096)
        self._rung.set()
