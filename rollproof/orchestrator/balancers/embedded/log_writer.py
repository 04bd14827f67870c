"""Writes the access log: lines are gathered and appended together, at the latest 100 ms after the first.

A line is always written whole; if the last run was killed within one, the next run starts on a new line. A full
disk costs log lines, which are counted, and never a request.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

FLUSH_AFTER_S = 0.1
_GATHERED_MAX = 512


class LogWriter:
    """Appends lines to `path`. To be closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.lost = 0  # lines the disk did not take
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._end_torn_line()

    def write(self, line: str) -> None:
        self._lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)
        elif len(self._lines) >= _GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        data = ("\n".join(lines) + "\n").encode("latin-1", "replace")
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.lost += data.count(b"\n")
            self._lines.append("")  # what was written may end within a line

    def close(self) -> None:
        self.flush()
        os.close(self._file)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")
