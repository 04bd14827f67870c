"""What a task prints and logs goes into that task's own log, and not to the terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rollproof.sim.process import CURRENT


class _PerProcess:
    """A stream that belongs to whoever writes: a process's log, or what it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        process = CURRENT.get()
        if process is None:
            return self._stream.write(text)
        process.write_log(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _LogHandler(logging.Handler):
    """For applications that set up no logging of their own."""

    def emit(self, record: logging.LogRecord) -> None:
        process = CURRENT.get()
        if process is not None:
            process.write_log(self.format(record) + "\n")


def _is_outside(_record: logging.LogRecord) -> bool:
    """Whether it is not a process that logs: its records are its own log's."""
    return CURRENT.get() is None


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """While the block lasts. What an application changes of the logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    streams = sys.stdout, sys.stderr
    handler = _LogHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s:     %(name)s - %(message)s"))
    for other in handlers:
        other.addFilter(_is_outside)
    root.handlers = [handler, *handlers]
    uvicorn_level = logging.getLogger("uvicorn").level
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    sys.stdout, sys.stderr = _PerProcess(streams[0]), _PerProcess(streams[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        root.handlers = handlers
        for other in handlers:
            other.removeFilter(_is_outside)
        root.setLevel(level)
        logging.root.manager.disable = disabled
        logging.getLogger("uvicorn").setLevel(uvicorn_level)
