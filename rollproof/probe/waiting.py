"""Waits of a session that end early when it is told to stop."""

from __future__ import annotations

import asyncio


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, `seconds` at most (None: as long as it takes); whether it is set."""
    if not event.is_set() and (seconds is None or seconds > 0):
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
    return event.is_set()
