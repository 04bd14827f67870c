"""sse-starlette, which carries the SDK's event streams, keeps one notice "the server shuts down" for a whole program.

Here each process has its own, and its own watcher of it, as each would have in a program of its own.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from rollproof.sim.process import CURRENT


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """While the block lasts. Does nothing where sse-starlette is not installed, or keeps it otherwise."""
    try:
        sse: Any = importlib.import_module("sse_starlette.sse")
    except ImportError:
        yield
        return
    if not (hasattr(sse, "AppStatus") and hasattr(sse, "_get_shutdown_state")):
        yield
        return
    shared_status, shared_state = sse.AppStatus, sse._get_shutdown_state
    outside: dict[str, Any] = {}

    def own(name: str, make: Any) -> Any:
        process = CURRENT.get()
        kept = outside if process is None else process.state
        key = f"sse-starlette {name}"
        if key not in kept:
            kept[key] = make()
        return kept[key]

    class Status:
        should_exit = False
        enable_automatic_graceful_drain = True
        original_handler = shared_status.original_handler and staticmethod(shared_status.original_handler)

    def status() -> Any:
        return own("status", Status)

    class PerProcess:
        """In place of the class whose attributes are the notice."""

        def __getattr__(self, name: str) -> Any:
            return getattr(status(), name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(status(), name, value)

        handle_exit = staticmethod(shared_status.handle_exit)
        disable_automatic_graceful_drain = staticmethod(shared_status.disable_automatic_graceful_drain)
        enable_automatic_graceful_drain_mode = staticmethod(shared_status.enable_automatic_graceful_drain_mode)

    sse.AppStatus = PerProcess()
    sse._get_shutdown_state = lambda: own("state", sse._ShutdownState)
    try:
        yield
    finally:
        sse.AppStatus, sse._get_shutdown_state = shared_status, shared_state
