"""Threads beside a virtual loop: a synchronous tool runs in one, as under a real server.

While a thread works, virtual time stands still and no callback runs, so that its outcome takes its place in the one
order of things. `time.sleep` there is virtual: the thread rests, and the loop goes on. A thread that calls back into
the loop is loose: callbacks run beside it, but time waits for it, until it waits for an answer (anyio.from_thread).
Then it rests as well, and works again from the moment of the answer.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import itertools
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
    ticket = 0


class Threads:
    """The threads that a loop has given work to. They work one after the other, in the order in which it was given."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._work = _Work()
        self._changed = threading.Condition()
        self._tickets = itertools.count(1)
        self._working: list[int] = []  # tickets; whose is the first works, the others wait for their turn
        self._loose = 0

    @property
    def are_loose(self) -> bool:
        return self._loose > 0

    def settle(self) -> None:
        """Returns when no thread works any more: each has ended, rests, or is loose."""
        if self._working:
            with self._changed:
                self._changed.wait_for(lambda: not self._working)

    def given(self) -> int:
        """One more thread has something to do: its ticket."""
        with self._changed:
            ticket = next(self._tickets)
            self._working.append(ticket)
            return ticket

    def begins(self, ticket: int) -> None:
        """The current thread takes up what it was given, or goes on, when its turn has come."""
        with self._changed:
            self._changed.wait_for(lambda: self._working[:1] == [ticket])
        self._work.state, self._work.ticket = _State.WORKING, ticket

    def has_worked(self) -> None:
        """The current thread is done; what it calls next is its report."""
        self._work.state = _State.DONE if self._work.state is _State.WORKING else _State.DONE_LOOSE

    def ends(self) -> None:
        """The current thread has reported, or had nothing to report."""
        if self._work.state in (_State.WORKING, _State.DONE):
            self._stops_working()
        elif self._work.state in (_State.LOOSE, _State.DONE_LOOSE):
            self._count_loose(-1)
        self._work.state = _State.NONE

    def calls_in(self) -> None:
        """The current thread calls into the loop from the midst of its work."""
        if self._work.state is _State.WORKING:
            self._work.state = _State.LOOSE
            self._count_loose(1)
            self._stops_working()

    def sleep(self, seconds: float) -> bool:
        """Let the current thread rest for virtual seconds. False where it is none of these, and may not."""
        if self._work.state is not _State.WORKING:
            return False
        woken: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._work.state = _State.NONE
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, lambda: woken.put(self.given()))
        self._stops_working()
        self.begins(woken.get())
        return True

    def waits_for(self, future: concurrent.futures.Future[Any]) -> queue.SimpleQueue[int] | None:
        """The current thread, having called in, is about to wait for `future`: where its ticket comes with the answer.

        None where it is none of these.
        """
        if self._work.state is not _State.LOOSE:
            return None
        answered: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._work.state = _State.NONE
        future.add_done_callback(lambda _: answered.put(self.given()))
        self._count_loose(-1)
        self._loop.call_soon_threadsafe(lambda: None)  # it may be waiting for us
        return answered

    def _stops_working(self) -> None:
        with self._changed:
            self._working.remove(self._work.ticket)
            self._changed.notify_all()

    def _count_loose(self, change: int) -> None:
        with self._changed:
            self._loose += change
            self._changed.notify_all()


class Executor(concurrent.futures.Executor):
    """In place of asyncio's default one: as many threads at once, each known to `Threads`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._waiting: deque[Callable[[int], None]] = deque()
        self._lock = threading.Lock()
        self._busy = 0

    def submit(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            self._waiting.append(lambda ticket: self._work(ticket, future, func, args, kwargs))
        self._begin_next()
        return future

    def _begin_next(self) -> None:
        with self._lock:
            if not self._waiting or self._busy >= EXECUTOR_THREADS:
                return
            self._busy += 1
            job = self._waiting.popleft()
        ticket = self._threads.given()
        threading.Thread(target=job, args=(ticket,), name="rollproof-sim", daemon=True).start()

    def _work(
        self, ticket: int, future: concurrent.futures.Future[Any], func: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        self._threads.begins(ticket)
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
def answers_awaited(threads: Threads) -> Iterator[None]:
    """While the block lasts, it is known which threads wait for a future of the loop's."""
    future_class: Any = concurrent.futures.Future
    original = future_class.result

    def result(future: concurrent.futures.Future[Any], timeout: float | None = None) -> Any:
        answered = threads.waits_for(future)
        if answered is not None:
            threads.begins(answered.get())
        return original(future, timeout)

    future_class.result = result
    try:
        yield
    finally:
        future_class.result = original


@contextlib.contextmanager
def anyio_threads(threads: Threads) -> Iterator[None]:
    """While the block lasts, anyio's worker threads are known: fastmcp and Starlette run in them what is not async."""
    backend: Any = importlib.import_module("anyio._backends._asyncio")

    class KnownWork(queue.Queue[Any]):
        """What a worker thread is given. (context, func, args, future, scope), or None: to end."""

        def put_nowait(self, item: Any) -> None:
            ticket = 0
            if item is not None:
                context, func, *rest = item
                ticket = threads.given()

                def run(*args: Any) -> Any:
                    try:
                        return func(*args)
                    finally:
                        threads.has_worked()

                item = (context, run, *rest)
            super().put_nowait((ticket, item))

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            threads.ends()
            ticket, item = super().get(block, timeout)
            if item is not None:
                threads.begins(ticket)
            return item

    original = backend.Queue
    backend.Queue = KnownWork
    try:
        yield
    finally:
        backend.Queue = original
