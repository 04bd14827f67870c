"""SIGTERM: what a replica does with it, under any server that runs an ASGI application.

Two things would break calls: sse_starlette ends every stream of its own at once when uvicorn is told to stop, and
streams that never end hold the process until it is killed. The first is switched off, the second are ended here. The
server's own handler does the rest: no new connections, the calls in flight answered, then the end of the lifespan.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sse_starlette.sse import AppStatus

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def drain_on_signal(drain: Callable[[], None], *, enabled: bool = True) -> Iterator[None]:
    """Call `drain` in this event loop on SIGTERM or SIGINT, before whatever handled them. Only the main thread can."""
    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)
        previous: Any = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in SIGNALS:
            if signal.getsignal(number) is handle:
                signal.signal(number, before[number])
