"""What is virtual while a simulation runs, and real again afterwards: clocks, chance, signals, and more.

    with virtual(seed) as loop:
        loop.run_until_complete(...)

Code under simulation asks the standard library for the time and for randomness; here those answer from the loop's
clock and from one generator. So a session's time to live passes with the simulated minutes, and the same seed gives the
same session ids. Wall clocks (`time.time`, `datetime.now`) are time-machine's, which reaches C code and names that were
imported long before; the monotonic ones are replaced in the module `time`.

What a library keeps once a program, and a rehearsal needs once a task, is held apart by process: signal handlers,
sse-starlette's notice that the server shuts down.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import time_machine

from rollproof.core.errors import UsageError
from rollproof.sim import output, sse
from rollproof.sim.loop import BEGINS_AT_S, VirtualLoop
from rollproof.sim.network import Network
from rollproof.sim.process import CURRENT, OrderedTask
from rollproof.sim.servers import frugal_servers
from rollproof.sim.threads import answers_awaited, anyio_threads

EPOCH_S = 1_767_225_600
"""2026-01-01T00:00:00Z: when every simulation begins."""

_NS = 1_000_000_000
_NO_NETWORK = "the in-process stage has no network for blocking clients: use an asyncio one, or --stage local"
_IMPORTING = "<frozen importlib._bootstrap>"


@contextlib.contextmanager
def virtual(seed: int) -> Iterator[VirtualLoop]:
    """A loop that is ready to run. Raises UsageError where one runs already in this thread, or freezegun is active."""
    _refuse_nesting()
    with contextlib.ExitStack() as stack:
        loop = VirtualLoop(Network())
        stack.enter_context(_clocks(loop))
        stack.enter_context(_chance(seed))
        stack.enter_context(_signals())
        stack.enter_context(_no_real_network())
        stack.enter_context(anyio_threads(loop.threads))
        stack.enter_context(answers_awaited(loop.threads))
        stack.enter_context(sse.apart())
        stack.enter_context(frugal_servers())
        stack.enter_context(_known_absent("sniffio"))
        stack.enter_context(output.apart())
        OrderedTask.begin_again()
        stack.callback(_close, loop)
        yield loop


@contextlib.contextmanager
def _known_absent(module: str) -> Iterator[None]:
    """Where it is not installed, Python need not look for it again each time: httpcore asks several times a request."""
    is_absent = module not in sys.modules and importlib.util.find_spec(module) is None
    if is_absent:
        sys.modules[module] = None  # type: ignore[assignment]  # what `import` takes for "there is none"
    try:
        yield
    finally:
        if is_absent:
            sys.modules.pop(module, None)


def _refuse_nesting() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "the in-process stage cannot run inside of another event loop",
        hint="call it from a plain function: `def test_...`, not `async def test_...`",
    )


def _close(loop: VirtualLoop) -> None:
    """What is left is cancelled and gets its turn; then the loop is closed."""
    loop.network.close()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    asyncio.set_event_loop(None)


@contextlib.contextmanager
def patched(owner: Any, **replacements: Any) -> Iterator[None]:
    """Attributes of `owner` replaced for as long as the block lasts."""
    before = {name: getattr(owner, name) for name in replacements}
    try:
        for name, replacement in replacements.items():
            setattr(owner, name, replacement)
        yield
    finally:
        for name, original in before.items():
            setattr(owner, name, original)


@contextlib.contextmanager
def _clocks(loop: VirtualLoop) -> Iterator[None]:
    really_sleep = time.sleep

    def sleep(seconds: float) -> None:
        if not loop.threads.sleep(seconds):
            really_sleep(0)  # the loop's own thread: a server would stand still, which costs it no virtual time

    def nanoseconds() -> int:
        return round(loop.time() * _NS)

    travel = time_machine.travel(EPOCH_S, tick=False)
    try:
        traveller = travel.start()
    except RuntimeError as error:
        raise UsageError(f"the clock is held by something else: {error}", hint="leave it alone in this test") from error
    told_ns = round(BEGINS_AT_S * _NS)

    def follow(now: float) -> None:
        nonlocal told_ns
        now_ns = round(now * _NS)
        traveller.shift((now_ns - told_ns) / _NS)
        told_ns = now_ns

    really_told: Callable[[], int] = traveller.time_ns

    def told_to_process() -> int:
        """A process's wall clock may be off by itself; all that ask for the time get here."""
        process = CURRENT.get()
        off_s = 0.0 if process is None else process.wall_clock_s
        return really_told() + round(off_s * _NS)

    traveller.time_ns = told_to_process  # type: ignore[method-assign]
    loop.on_advance = follow
    try:
        with patched(
            time,
            monotonic=loop.time,
            monotonic_ns=nanoseconds,
            perf_counter=loop.time,
            perf_counter_ns=nanoseconds,
            sleep=sleep,
        ):
            yield
    finally:
        travel.stop()


@contextlib.contextmanager
def _chance(seed: int) -> Iterator[None]:
    """Generators behind `os.urandom`, and with that behind `secrets` and `uuid`; the module `random` begins anew.

    Each process has one, and so has each module while it is imported: a library is that only once a program, and what
    it draws then is not to move what the next simulation draws.
    """
    generators: dict[tuple[str, str], random.Random] = {}

    def draw(size: int) -> bytes:
        process = CURRENT.get()
        key = _importing(), "" if process is None else process.name
        if key not in generators:
            generators[key] = random.Random(f"urandom {seed} {key}")
        return generators[key].randbytes(size)

    state = random.getstate()
    random.seed(f"random {seed}")
    try:
        with patched(os, urandom=draw), patched(random, _urandom=draw):
            yield
    finally:
        random.setstate(state)


def _importing() -> str:
    """The module that is being imported at the moment, "" for none."""
    frame, inner = sys._getframe(1), None
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            inner = inner or frame
        elif frame.f_code.co_filename == _IMPORTING and inner is not None:
            return str(inner.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
    return ""


@contextlib.contextmanager
def _no_real_network() -> Iterator[None]:
    """A process's blocking sockets lead nowhere, which is said at once: connecting could hang for minutes."""
    real_socket = socket.socket

    class Socket(real_socket):  # type: ignore[valid-type, misc]
        def connect(self, address: Any, /) -> None:
            if CURRENT.get() is not None:
                raise ConnectionRefusedError(errno.ECONNREFUSED, f"{address}: {_NO_NETWORK}")
            super().connect(address)

        def connect_ex(self, address: Any, /) -> int:
            return super().connect_ex(address) if CURRENT.get() is None else errno.ECONNREFUSED

    with patched(socket, socket=Socket):
        yield


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Handlers are the current process's own, and a signal that one sends itself reaches nobody else."""
    really_set, really_get, really_raise = signal.signal, signal.getsignal, signal.raise_signal
    really_main = threading.main_thread

    def set_handler(number: int, handler: Any) -> Any:
        process = CURRENT.get()
        if process is None:
            return really_set(number, handler)
        before = process.state.get(f"signal {number}", signal.SIG_DFL)
        process.state[f"signal {number}"] = handler
        if callable(handler):
            process.handlers[number] = lambda: handler(number, None)
        elif handler == signal.SIG_IGN:
            process.handlers[number] = lambda: None
        else:
            process.handlers.pop(number, None)
        return before

    def get_handler(number: int) -> Any:
        process = CURRENT.get()
        return really_get(number) if process is None else process.state.get(f"signal {number}", signal.SIG_DFL)

    def raise_own(number: int) -> None:
        process = CURRENT.get()
        if process is None:
            really_raise(number)
        elif handler := process.handlers.get(number):
            handler()
        else:
            process.default_action(number)

    def main_thread() -> threading.Thread:
        """A process's own code runs in what is, to it, the main thread, whichever thread the simulation has."""
        return really_main() if CURRENT.get() is None else threading.current_thread()

    with (
        patched(signal, signal=set_handler, getsignal=get_handler, raise_signal=raise_own),
        patched(threading, main_thread=main_thread),
    ):
        yield
