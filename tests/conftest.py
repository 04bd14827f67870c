"""For every test."""

from __future__ import annotations

import asyncio

import pytest

pytest.register_assert_rewrite("rollproof.testing")


def pytest_configure() -> None:
    """Python 3.11's asyncio makes a stray event loop where none was ever set, which would fail as unclosed."""
    asyncio.set_event_loop(None)
