"""A whole probe as one call: its own event loop, its own history file, Ctrl-C. For the command line.

The first SIGINT or SIGTERM tells the sessions to finish, read once more and close; the second cuts them off.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

from rollproof.history import Clock, HistoryFile, Record, Recorder
from rollproof.probe.options import ProbeOptions
from rollproof.probe.probe import Probe
from rollproof.probe.records import Progress
from rollproof.probe.summary import summary

_PROGRESS_EVERY_S = 0.5


class SystemClock:
    """Seconds since `started_at` (UNIX time; default: now), free of the system clock's later jumps."""

    def __init__(self, started_at: float | None = None) -> None:
        now = time.time()
        self._started_at = now if started_at is None else started_at
        self._offset_s = now - self._started_at - time.monotonic()

    @property
    def started_at(self) -> float:
        return self._started_at

    def now(self) -> float:
        return time.monotonic() + self._offset_s


class _Calls:
    """Passes records on and keeps this run's calls, without their states: the file may hold other runs too."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self.records: list[Record] = []
        self._recorder = recorder
        self._clock = clock

    def record(self, kind: str, /, **fields: Any) -> None:
        fields.setdefault("t", self._clock.now())
        if kind == "call":
            kept = {name: value for name, value in fields.items() if name not in {"state", "expected"}}
            self.records.append({"kind": kind, **kept})
        self._recorder.record(kind, **fields)


def run_probe(
    options: ProbeOptions,
    history: Path,
    *,
    seed: int = 0,
    started_at: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Run it to its end and return its summary; `history` is appended to. Raises what `Probe.run` raises, and
    KeyboardInterrupt if it was cut off.

    `started_at` is the UNIX time that the history's `t` counts from, for a probe that joins a rehearsal.
    `on_progress` is called twice a second and once at the end.
    """
    clock = SystemClock(started_at)
    recorder = HistoryFile(history, clock)
    calls = _Calls(recorder, clock)
    try:
        _run_to_the_end(_run(Probe(options, calls, clock, random=Random(seed)), on_progress))
    finally:
        recorder.close()
    return summary(calls.records)


def _run_to_the_end(run: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(run)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _run(probe: Probe, on_progress: Callable[[Progress], None] | None) -> None:
    stop = asyncio.Event()
    run = asyncio.create_task(probe.run(stop))
    release = _on_signals(stop, run)
    try:
        while not run.done():
            await asyncio.wait((run,), timeout=_PROGRESS_EVERY_S)
            if on_progress:
                on_progress(probe.progress)
        await run
    finally:
        release()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def _on_signals(stop: asyncio.Event, run: asyncio.Task[None]) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle() -> None:
        if stop.is_set():
            run.cancel()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, handle)

    def release() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return release
