"""The data plane's time: one monotonic clock, and the texts that headers and log lines need of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

from rollproof.core.stickiness import EXPIRES_AFTER_S


class PlaneClock:
    """`now` is monotonic seconds; UNIX time is that plus an offset, looked up again at every `refresh`."""

    def __init__(self, now: Callable[[], float] = time.perf_counter, wall: Callable[[], float] = time.time) -> None:
        self.now, self._wall = now, wall
        self._offset = 0.0
        self._second = -1
        self._iso = ""
        self._date = b""
        self._expires = b""
        self.refresh()

    def refresh(self) -> None:
        self._offset = self._wall() - self.now()

    def unix(self, now: float) -> float:
        return now + self._offset

    def iso(self, now: float) -> str:
        """UTC with microseconds, as the access log has it."""
        at = now + self._offset
        second = int(at)
        text = self._iso if second == self._second else _iso_second(second)
        return f"{text}.{int((at - second) * 1e6):06d}Z"

    def date(self, now: float) -> bytes:
        """The HTTP date of `now`."""
        self._render(now)
        return self._date

    def expires(self, now: float) -> bytes:
        """The HTTP date seven days behind `now`."""
        self._render(now)
        return self._expires

    def _render(self, now: float) -> None:
        second = int(now + self._offset)
        if second != self._second:
            self._second = second
            self._iso = _iso_second(second)
            self._date = formatdate(second, usegmt=True).encode()
            self._expires = formatdate(second + EXPIRES_AFTER_S, usegmt=True).encode()


def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
