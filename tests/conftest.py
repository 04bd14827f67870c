"""For every test: Python 3.11's asyncio makes a stray event loop when none was ever set, which would fail as unclosed."""

from __future__ import annotations

import asyncio


def pytest_configure() -> None:
    asyncio.set_event_loop(None)
