from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rollproof.sim.virtual import virtual

Play = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def play() -> Play:
    """Runs a coroutine in virtual time, with seed 1, and returns its result."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with virtual(1) as loop:
            return loop.run_until_complete(coroutine)

    return run
