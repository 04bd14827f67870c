"""Runs a coroutine for a command: Ctrl-C and SIGTERM end it cleanly, and errors are told in plain words."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.markup import escape

from rollproof.core.errors import RollproofError, UsageError

T = TypeVar("T")

PASS, FAIL, USAGE, UNKNOWN = 0, 1, 2, 3
INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTHING_LEFT = "stopped; nothing is left running"
_PIPE_WIDTH = 200

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, everything cleaned up. Its text is what is said of it, if anything."""


@contextmanager
def interruptible() -> Iterator[None]:
    """While no event loop runs, nothing has been started: Ctrl-C and SIGTERM raise Interrupted, and that is all."""

    def stop(_number: int, _frame: object) -> None:
        raise Interrupted("stopped")

    with _handlers_kept():
        for number in SIGNALS:
            signal.signal(number, stop)
        yield


@contextmanager
def _handlers_kept() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run(coroutine: Coroutine[Any, Any, T], *, on_stop: str = NOTHING_LEFT) -> T:
    """Its result. The first Ctrl-C or SIGTERM cancels it and waits for its clean-up; more only say so.

    Raises Interrupted, saying `on_stop`.
    """
    with _handlers_kept():  # the loop puts in the defaults when it closes
        return asyncio.run(_with_signals(coroutine, on_stop))


async def _with_signals(coroutine: Coroutine[Any, Any, T], on_stop: str) -> T:
    task, loop = asyncio.ensure_future(coroutine), asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if on_stop == NOTHING_LEFT:
            err.print("still stopping ..." if stopping else "stopping: ending everything that was started ...")
        if not stopping:
            stopping = True
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopping:
            raise Interrupted(on_stop) from None
        raise


def tell_error(error: BaseException) -> int:
    """Print it, and return the exit code it stands for. Anything that is not ours is a bug, and is raised."""
    error = most_telling(error)
    if isinstance(error, Interrupted):
        if str(error):
            err.print(str(error))
        return INTERRUPTED
    if not isinstance(error, RollproofError):
        raise error from None
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"[bold]hint:[/] {escape(error.hint)}", soft_wrap=True)
    return USAGE if isinstance(error, UsageError) else UNKNOWN


def most_telling(error: BaseException) -> BaseException:
    """Of a group, the deepest first error of ours, else the first; any other error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [most_telling(each) for each in error.exceptions]
    return next((each for each in leaves if isinstance(each, RollproofError)), leaves[0])


def print_table(table: RenderableType) -> None:
    """As wide as the terminal, or as it needs to be where there is none."""
    wide_out().print(table)


def wide_out() -> Console:
    """Standard output for tables of many columns: where it is no terminal, it is as wide as they need."""
    return out if out.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
