"""The runs of a stage that stays: each rehearsal gets a directory and a history of its own.

    runs/<time>-up/           what happens between rehearsals; logs/ of all tasks of the stage
    runs/<time>-<name>/       one rehearsal: history.jsonl, log-offset, logs -> ../<time>-up/logs; at its end, its part
                              of the load balancer's access.log

The orchestrator writes to the history of the run that is on; the client of that run appends to the same file.
Both write whole lines with O_APPEND, so neither tears the other's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollproof.core.access_log import AccessLogEntry
from rollproof.core.errors import Permanent
from rollproof.core.routing_table import RoutingTable
from rollproof.history import HistoryFile
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.ports import Balancer, TargetCounters

OFFSET_FILE = "log-offset"
_FAILURES = frozenset({"TaskFailedToStart", "EssentialContainerExited"})

log = logging.getLogger(__name__)


class RunHistory:
    """A recorder whose file changes with the run. What ECS says, and why tasks failed, goes to the log as well."""

    def __init__(self, run_dir: Path, clock: StageClock) -> None:
        self._clock = clock
        self._file = HistoryFile(run_dir / "history.jsonl", clock)

    def record(self, kind: str, /, **fields: Any) -> None:
        self._file.record(kind, **fields)
        if kind == "service_event":
            log.info("%s", fields["message"])
        elif kind == "task" and fields.get("stop_code") in _FAILURES and fields["known"] == "STOPPED":
            log.info("task %s: %s", fields["task_id"], fields.get("stopped_reason"))

    def go_on_in(self, run_dir: Path) -> None:
        old, self._file = self._file, HistoryFile(run_dir / "history.jsonl", self._clock)
        old.close()

    def close(self) -> None:
        self._file.close()


class LogFromHere:
    """A balancer whose access log begins at byte `begin`: it outlives many runs, and each has its own part of it."""

    def __init__(self, balancer: Balancer, begin: int) -> None:
        self._balancer = balancer
        self.read_until = begin

    async def publish(self, table: RoutingTable) -> None:
        await self._balancer.publish(table)

    async def cut(self, target_id: str) -> int:
        return await self._balancer.cut(target_id)

    async def counters(self) -> Mapping[str, TargetCounters]:
        return await self._balancer.counters()

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        async for position, entry in self._balancer.access_log(max(offset, self.read_until)):
            self.read_until = position
            yield position, entry


def make_run(runs_dir: Path, name: str, *, offset: int, logs: Path | None = None) -> Path:
    """A new run's directory, whose part of the access log begins at byte `offset`. Raises Permanent."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    try:
        for suffix in ("", *(f".{number}" for number in range(2, 100))):
            path = runs_dir / f"{stamp}-{name}{suffix}"
            if not path.exists():
                break
        path.mkdir(parents=True)
        (path / OFFSET_FILE).write_text(str(offset), encoding="ascii")
        if logs is None:
            (path / "logs").mkdir()
        else:
            (path / "logs").symlink_to(os.path.relpath(logs, path))
    except OSError as error:
        raise Permanent(f"cannot make a run in {runs_dir}: {error}", hint="is its volume full?") from error
    return path


def begin_of(run_dir: Path) -> int:
    """Where its part of the access log begins."""
    return int((run_dir / OFFSET_FILE).read_text(encoding="ascii"))


def copy_log_part(access_log: Path, begin: int, end: int, run_dir: Path) -> None:
    """The bytes of the access log that are the run's, as its access.log. One that is gone or shorter is no error."""
    with suppress(OSError), access_log.open("rb") as log:
        log.seek(begin)
        (run_dir / "access.log").write_bytes(log.read(max(0, end - begin)))
