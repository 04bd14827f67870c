"""For every test of the probe."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_stray_event_loop() -> None:
    """Python 3.11 makes an event loop for whoever asks first in the main thread, and nobody would close it."""
    asyncio.set_event_loop(None)
