"""Where the runs of a test are kept: only for a test that failed, unless somebody wants them all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def runs_directory(
    config: pytest.Config, temporary: pytest.TempPathFactory, has_failed: Callable[[], bool]
) -> Iterator[Path]:
    """In pytest's own temporary directory, of which it keeps the last three; `rollproof_runs` keeps it elsewhere."""
    wanted = config.getoption("rollproof_runs") or config.getini("rollproof_runs")
    if wanted:
        yield config.rootpath / wanted
        return
    runs = temporary.mktemp("rollout")
    try:
        yield runs
    finally:
        if not has_failed():
            shutil.rmtree(runs, ignore_errors=True)
        with suppress(OSError):
            runs.rmdir()  # a rollout that never began has left nothing in it


def name_of(test: str) -> str:
    """A test's name as a run's: `test_it[2-crash]` is `test_it-2-crash`."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-")[:80] or "rollout"
