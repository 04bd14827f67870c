"""Threads beside a virtual loop: a synchronous tool runs in one, as under a real server.

While a thread works, virtual time stands still and no callback runs, so that its outcome takes its place in the one
order of things. `time.sleep` there is virtual: the thread rests, and the loop goes on. A thread that calls back into
the loop (anyio.from_thread) is loose from then on: the loop runs beside it, but time waits for its end.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollproof.sim.loop import VirtualLoop

EXECUTOR_THREADS = 6
"""asyncio's default, CPUs + 4, on a Fargate task of less than a vCPU, which sees two."""


class _State(Enum):
    NONE = "no work of ours"
    WORKING = "the loop waits for it"
    LOOSE = "has called into the loop, which does not wait any more"
    DONE = "has worked, and is about to report"
    DONE_LOOSE = "was loose, and is about to report"


class _Work(threading.local):
    state = _State.NONE


class Threads:
    """The threads that a loop has given work to."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._work = _Work()
        self._changed = threading.Condition()
        self._working = 0
        self._loose = 0

    @property
    def are_loose(self) -> bool:
        return self._loose > 0

    def settle(self) -> None:
        """Returns when no thread works any more: each has ended, rests, or is loose."""
        if self._working:
            with self._changed:
                self._changed.wait_for(lambda: not self._working)

    def given(self) -> None:
        """One more thread has something to do."""
        self._count(working=1)

    def begins(self) -> None:
        """The current thread takes up what it was given."""
        self._work.state = _State.WORKING

    def has_worked(self) -> None:
        """The current thread is done; what it calls next is its report."""
        self._work.state = _State.DONE if self._work.state is _State.WORKING else _State.DONE_LOOSE

    def ends(self) -> None:
        """The current thread has reported, or had nothing to report."""
        if self._work.state in (_State.WORKING, _State.DONE):
            self._count(working=-1)
        elif self._work.state in (_State.LOOSE, _State.DONE_LOOSE):
            self._count(loose=-1)
        self._work.state = _State.NONE

    def calls_in(self) -> None:
        """The current thread calls into the loop from the midst of its work."""
        if self._work.state is _State.WORKING:
            self._work.state = _State.LOOSE
            self._count(working=-1, loose=1)

    def sleep(self, seconds: float) -> bool:
        """Let the current thread rest for virtual seconds. False where it is none of these, and may not."""
        if self._work.state is not _State.WORKING:
            return False
        woken = threading.Event()

        def wake() -> None:
            self._count(working=1)
            woken.set()

        self._work.state = _State.NONE
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, wake)
        self._count(working=-1)
        woken.wait()
        self._work.state = _State.WORKING
        return True

    def _count(self, working: int = 0, loose: int = 0) -> None:
        with self._changed:
            self._working += working
            self._loose += loose
            self._changed.notify_all()


class Executor(concurrent.futures.Executor):
    """In place of asyncio's default one: as many threads at once, each known to `Threads`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._busy = 0

    def submit(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            self._waiting.append(lambda: self._work(future, func, args, kwargs))
        self._begin_next()
        return future

    def _begin_next(self) -> None:
        with self._lock:
            if not self._waiting or self._busy >= EXECUTOR_THREADS:
                return
            self._busy += 1
            job = self._waiting.popleft()
        self._threads.given()
        threading.Thread(target=job, name="rollproof-sim", daemon=True).start()

    def _work(self, future: concurrent.futures.Future[Any], func: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._threads.begins()
        try:
            if future.set_running_or_notify_cancel():
                try:
                    result = func(*args, **kwargs)
                except BaseException as error:
                    self._threads.has_worked()
                    future.set_exception(error)
                else:
                    self._threads.has_worked()
                    future.set_result(result)
        finally:
            with self._lock:
                self._busy -= 1
            self._begin_next()
            self._threads.ends()


@contextlib.contextmanager
def anyio_threads(threads: Threads) -> Iterator[None]:
    """While the block lasts, anyio's worker threads are known: fastmcp and Starlette run in them what is not async."""
    backend: Any = importlib.import_module("anyio._backends._asyncio")

    class KnownWork(queue.Queue[Any]):
        """What a worker thread is given. (context, func, args, future, scope), or None: to end."""

        def put_nowait(self, item: Any) -> None:
            if item is not None:
                context, func, *rest = item
                threads.given()

                def run(*args: Any) -> Any:
                    try:
                        return func(*args)
                    finally:
                        threads.has_worked()

                item = (context, run, *rest)
            super().put_nowait(item)

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            threads.ends()
            item = super().get(block, timeout)
            if item is not None:
                threads.begins()
            return item

    original = backend.Queue
    backend.Queue = KnownWork
    try:
        yield
    finally:
        backend.Queue = original
