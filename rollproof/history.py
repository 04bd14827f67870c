"""The history of a run: append-only JSON lines that every verdict and report is drawn from.

One object a line. Every record has `t` (seconds since the stage started, float), `at` (UTC, ISO 8601 with
microseconds and "Z") and `kind`. The fields by kind, `?` marks an optional one:

    setting        name, value, source?, template_value?    one per knob, as used (real seconds); where it came from
    service_event  message                                  in ECS's own words
    deployment     id, status, rollout_state, desired, running, pending, failed_tasks, task_definition, reason?,
                   circuit_breaker, failure_threshold
    task           task_id, known, desired, deployment, stop_code?, stopped_reason?, exit_code?, address?,
                   target_id?, signal?
                   one at each change; `signal` ("SIGTERM", "SIGKILL") on the record of a signal sent
    target         target_id, task_id, state, reason?, previous?
                   `draining_until` (t) while draining; `cut` (connections) when the delay has ended
    node           node, target_id, state                   one ALB node learned of it
    request        the fields of core.access_log.AccessLogEntry
    call           session, call_number, tool, http_status?, rpc_error? {code, message}, task_id?, latency_s,
                   state_size?, state?, expected?, ok, error?, signature?, started_t, era, key?, replayed?
                   with `activity` (elicitation, stream, ...) and `activity_outcome` (ok, unsupported, hang, ...) it
                   is no call of the session's own work, and is judged apart
    session        session, event (opened|closed|reinitialised|stream_opened|stream_ended), task_id?, reason?,
                   mcp_session_id_by? ("client"|"server"|"handle")
    cookie         session, event: "session_cookie_changed", cookie_name, old_digest, new_digest, task_id?,
                   previous_task_id?; digests only: a cookie's value is never written down
    fault          name, target?                            what was done to the service on purpose
    mark           name, detail?                            the play's beats: "warmed-up", "deployment-triggered",
                                                            "redis-back", "steady", "probe-ended"
    usage          phase (idle|calls), event (begin|end), redis_commands {command: calls}, cpu_s {task_id: seconds},
                   calls?, latencies_s? [of those that were ok]
                   counters that only rise, around the seconds in which costs are measured; the calls of that phase
                   are of sessions that are not judged, and not in the history
    log            task_id, line                            the task's own log
    alarm          name, state
    orchestrator   event (started|adopted|stopped), detail?

`session` and `call` keep the record fields of the published experiment's client (call_number, tool,
http_status, task_id, state, session_cookie_changed).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]
_BLOCK = 64 * 1024


class Recorder(Protocol):
    """Where records go. Adds `t` and `at` itself unless given."""

    def record(self, kind: str, /, **fields: Any) -> None: ...


class HistoryFile:
    """Appends to `path`; every line is flushed, so a killed run keeps what it saw. A line that a killed writer left
    torn at the end is cut off.

    `clock` gives seconds since the stage's start; `started_at` is that start as a UNIX time. `listener` is told of
    every record as well: a live display.
    """

    def __init__(self, path: Path, clock: Clock, listener: Callable[[Record], None] | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._clock = clock
        self._listener = listener

    def record(self, kind: str, /, **fields: Any) -> None:
        t = fields.pop("t", None)
        t = self._clock.now() if t is None else t
        line = {"t": round(t, 6), "at": utc(self._clock.started_at + t), "kind": kind, **fields}
        self._file.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
        if self._listener is not None:
            self._listener(line)

    def close(self) -> None:
        self._file.close()


class Clock(Protocol):
    """Seconds since the stage started, and when that was (UNIX time)."""

    @property
    def started_at(self) -> float: ...

    def now(self) -> float: ...


class HistoryList:
    """Keeps records in memory; for tests and for the in-process stage."""

    def __init__(self, clock: Clock) -> None:
        self.records: list[Record] = []
        self._clock = clock

    def record(self, kind: str, /, **fields: Any) -> None:
        t = fields.pop("t", None)
        t = self._clock.now() if t is None else t
        self.records.append({"t": t, "at": utc(self._clock.started_at + t), "kind": kind, **fields})


def _cut_torn_line(path: Path) -> None:
    """Else the next record would be written behind it, on the same line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                break
            end = begin
        file.truncate(begin + newline + 1 if end else 0)


def utc(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_history(path: Path) -> Iterator[Record]:
    """Records in file order. A torn last line (a killed writer) is skipped.

    Raises ValueError, with the line's number, for anything else that is not JSON.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not a JSON record: {error}") from error
