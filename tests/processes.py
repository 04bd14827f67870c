"""What this worker of the test runner has started."""

from __future__ import annotations

import psutil


def children_running(module: str) -> list[psutil.Process]:
    """Its children that were started with `-m module`. One of another test may end meanwhile."""
    return [process for process in psutil.Process().children() if _runs(process, module)]


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.Error:
        return False
