"""`python -m rollproof.orchestrator.balancers.embedded`: the balancer's own process.

Ends with 0 when asked to stop (SIGTERM, SIGINT, or the control socket), with 2 where it cannot start: the
reason is on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.orchestrator.balancers.control_server import USAGE_EXIT
from rollproof.orchestrator.balancers.embedded.server import BalancerOptions, EmbeddedBalancer

_GRACE_S = 5.0
_GC_THRESHOLD = 20_000
"""Requests leave no reference cycles behind: looking for some every 700 objects, the default, would find none."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. Returns the exit code."""
    try:
        options = _options(arguments)
        _allow_many_files()
        _run(_serve(options))
    except UsageError as error:
        sys.stderr.write(f"{error.message}\nhint: {error.hint}\n" if error.hint else f"{error.message}\n")
        return USAGE_EXIT
    return 0


def _options(arguments: list[str] | None) -> BalancerOptions:
    parser = argparse.ArgumentParser(prog="python -m rollproof.orchestrator.balancers.embedded")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--control", required=True, type=Path, metavar="SOCKET")
    parser.add_argument("--access-log", required=True, type=Path, metavar="FILE")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="32 bytes; made if it does not exist")
    parser.add_argument("--tasks", type=Path, metavar="DIR", help="freeze these tasks between two requests")
    given = parser.parse_args(arguments)
    host, _, port = given.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {given.listen} is not HOST:PORT")
    return BalancerOptions(given.access_log, host.strip("[]"), int(port), given.control, given.key_file, given.tasks)


async def _serve(options: BalancerOptions) -> None:
    balancer = EmbeddedBalancer(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, balancer.request_stop, _GRACE_S)
    await balancer.start()
    gc.freeze()  # what is loaded now stays: the collector need not look at it again
    gc.set_threshold(_GC_THRESHOLD)
    await balancer.stop_requested.wait()
    await balancer.stop(balancer.grace_s)


def _allow_many_files() -> None:
    """A stream takes two; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(main_coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        asyncio.run(main_coroutine)
    else:
        uvloop.run(main_coroutine)


if __name__ == "__main__":
    sys.exit(main())
