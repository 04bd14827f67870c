"""Runs a coroutine for a command: Ctrl-C and SIGTERM end it cleanly, and errors are told in plain words."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape

from rollproof.core.errors import RollproofError, UsageError

T = TypeVar("T")

PASS, FAIL, USAGE, UNKNOWN = 0, 1, 2, 3
INTERRUPTED = 130

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM; everything has been cleaned up."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result. The first Ctrl-C cancels it and waits for its clean-up; more only say so. Raises Interrupted."""
    return asyncio.run(_with_signals(coroutine))


async def _with_signals(coroutine: Coroutine[Any, Any, T]) -> T:
    task, loop = asyncio.ensure_future(coroutine), asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        err.print("still stopping ..." if stopping else "stopping: ending everything that was started ...")
        if not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopping:
            raise Interrupted from None
        raise


def tell_error(error: BaseException) -> int:
    """Print it, and return the exit code it stands for. Anything that is not ours is a bug, and is raised."""
    if isinstance(error, BaseExceptionGroup):
        return tell_error(_first(error))
    if isinstance(error, Interrupted):
        err.print("stopped; nothing is left running")
        return INTERRUPTED
    if not isinstance(error, RollproofError):
        raise error
    err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"[bold]hint:[/] {escape(error.hint)}", soft_wrap=True)
    return USAGE if isinstance(error, UsageError) else UNKNOWN


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The most telling one: ours before others, the deepest."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, RollproofError)), leaves[0])


def is_terminal() -> bool:
    return sys.stderr.isatty()
