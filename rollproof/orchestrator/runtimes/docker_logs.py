"""Copies a container's output to its task's log file as it grows.

The Engine keeps the output itself (`docker compose logs server`), so a copy can always be made again: whoever
follows starts at the beginning and writes the file anew. An orchestrator that was killed therefore loses no line.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from rollproof.orchestrator.runtimes.docker_engine import Engine, Stream

log = logging.getLogger(__name__)


class LogCopies:
    """One copy a container. Belongs to one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._copies: dict[str, tuple[asyncio.Event, Stream]] = {}
        self._finished: set[str] = set()  # a late look at a removed container must not empty its file

    def begin(self, name: str, path: Path) -> None:
        """Copy until the container ends. Again: no effect. Raises OSError where the file cannot be written."""
        if name in self._copies or name in self._finished:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb", buffering=0)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            file.close()
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

        self._copies[name] = (ended, self._engine.follow_log(name, file.write, end))

    async def finish(self, name: str, patience_s: float) -> None:
        """Wait for the last line of a container that has ended; then forget it."""
        self._finished.add(name)
        copy = self._copies.pop(name, None)
        if copy is None:
            return
        ended, stream = copy
        try:
            async with asyncio.timeout(patience_s):
                await ended.wait()
        except TimeoutError:
            log.warning("container %s: its log did not end within %g s", name, patience_s)
            stream.stop()
