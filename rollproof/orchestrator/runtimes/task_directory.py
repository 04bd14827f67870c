"""The directory of one task: all that a task agent and a runtime tell each other, on disk.

A runtime may be killed at any moment and another one started over the same directory, so nothing that
matters is kept in memory only:

    <runtime directory>/
      bell                 FIFO: an agent that has written an event rings it; nobody need be listening
      tasks/<task id>/
        task.json          what the task is (facts of the metadata endpoint), its address and log file
        launch.json        how to start it, secrets included: mode 0600, deleted once the process exists
        agent.json         the agent's pid; written when the agent is ready
        agent.lock         flocked by the agent as long as it lives: the kernel's own word on whether it does
        events.jsonl       what happened, append-only, one object a line; the agent is its only writer
        agent.log          the agent's own stderr
        tmp/               the task's TMPDIR

Records of events.jsonl, each with `kind` and `at` (UNIX time):

    started       pid
    start_failed  reason
    health        healthy
    protection    enabled, expires_in_minutes, expires_at (UNIX time or null)
    exited        exit_code, reason

Imports the standard library only, and little of it: every task agent loads this module.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

TERMINAL_KINDS = frozenset({"start_failed", "exited"})

Record = dict[str, Any]


class AgentRecord(NamedTuple):
    """Who supervises the task. `pid` is also the id of the session that the task runs in."""

    pid: int
    started_at: float


class TaskDirectory:
    """Paths and file formats; knows nothing of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.task_id = path.name
        self.task = path / "task.json"
        self.launch = path / "launch.json"
        self.agent = path / "agent.json"
        self.lock = path / "agent.lock"
        self.events = path / "events.jsonl"
        self.agent_log = path / "agent.log"
        self.tmp = path / "tmp"
        self.bell = path.parent.parent / "bell"

    def exists(self) -> bool:
        return self.task.exists()

    def read_task(self) -> Record:
        return read_json(self.task)

    def read_agent(self) -> AgentRecord | None:
        """None while no agent has ever been ready."""
        try:
            return AgentRecord(**read_json(self.agent))
        except FileNotFoundError:
            return None

    def append(self, kind: str, **fields: Any) -> None:
        """Write one event and ring the bell. One write(2) of one line: a reader sees all of it or none."""
        line = json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n"
        descriptor = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        ring(self.bell)

    def read_events(self, offset: int = 0) -> tuple[list[Record], int]:
        """The events from byte `offset` on, and the offset behind the last whole line."""
        try:
            with self.events.open("rb") as file:
                file.seek(offset)
                lines = file.read()
        except FileNotFoundError:
            return [], offset
        whole = lines[: lines.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()], offset + len(whole)

    def is_over(self) -> bool:
        """Has the task ended, or failed to start?"""
        return any(record["kind"] in TERMINAL_KINDS for record in self.read_events()[0])

    def agent_lives(self) -> bool:
        """Ask the kernel. A dead agent's lock is free at once, whatever became of its pid."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def hold_lock(self, patience_s: float = 0.5) -> int | None:
        """Become this task's agent: the descriptor to keep open for life, or None if another agent lives.

        A runtime's look (`agent_lives`) takes the lock for microseconds, hence the patience.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    os.close(descriptor)
                    return None
                time.sleep(0.005)
            else:
                return descriptor


def read_json(path: Path) -> Record:
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def write_json(path: Path, value: Record) -> None:
    """Whole or not at all, and for this user's eyes only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(value, file)
    draft.replace(path)


def ring(bell: Path) -> None:
    """Wake whoever watches. No listener, or one with a full pipe: nothing to do, it reads the files anyway."""
    with contextlib.suppress(OSError):
        descriptor = os.open(bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"!")
        finally:
            os.close(descriptor)
