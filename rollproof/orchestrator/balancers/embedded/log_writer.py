"""Writes the access log: entries are gathered, then appended together, at the latest 100 ms after the first.

Formatting many lines in one go costs half of what it costs between two requests.
A line is always written whole; if the last run was killed within one, the next run starts on a new line. A full
disk costs log lines, which are counted, and never a request.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

FLUSH_AFTER_S = 0.1
_GATHERED_MAX = 128


class Loggable(Protocol):
    """What happened; it does not change any more when it is written."""

    def log_line(self) -> str: ...


class Log(Protocol):
    """Where the data plane writes."""

    def write(self, entry: Loggable, /) -> None: ...


class LogWriter:
    """Appends lines to `path`. To be closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.lost = 0  # lines the disk did not take
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._entries: list[Loggable] = []
        self._is_torn = False
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._end_torn_line()

    def write(self, entry: Loggable) -> None:
        if self._is_closed:
            return
        self._entries.append(entry)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
        elif len(self._entries) >= _GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        data = ("\n".join([entry.log_line() for entry in entries]) + "\n").encode("latin-1", "replace")
        try:
            if self._is_torn:
                os.write(self._file, b"\n")
                self._is_torn = False
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.lost += data.count(b"\n")
            self._is_torn = True

    def close(self) -> None:
        self.flush()
        self._is_closed = True
        os.close(self._file)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")
