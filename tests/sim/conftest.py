from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rollproof.sim.loop import VirtualLoop
from rollproof.sim.network import Network
from rollproof.sim.virtual import virtual


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], VirtualLoop]]:
    """Coroutines here run on a virtual loop; other clocks than its own stay real."""
    return {"virtual": lambda: VirtualLoop(Network())}


Play = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def play() -> Play:
    """Runs a coroutine in virtual time, with seed 1, and returns its result."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with virtual(1) as loop:
            return loop.run_until_complete(coroutine)

    return run
