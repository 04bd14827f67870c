"""Free loopback ports for tasks, one owner each.

The kernel's own choice (bind to port 0) is no reservation: between that moment and the task's bind, any
outgoing connection may be given the same number, and a rehearsal makes thousands. So ports come from below
the ephemeral ranges of Linux (32768) and macOS (49152), and each is held by a lock on a file that all
rehearsals of this user share. The lock goes over to the task agent by inheritance and lives as long as it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rollproof.core.errors import Temporary

PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class HeldPort:
    """A port that is ours while `descriptor`, or an inherited copy of it, stays open."""

    number: int
    descriptor: int

    def close(self) -> None:
        os.close(self.descriptor)


class PortPool:
    """Hands out ports in turn, so that one just given back is the last to be used again."""

    def __init__(self, ports: range = PORTS, lock_directory: Path | None = None) -> None:
        self._ports = ports
        self._directory = lock_directory or Path(tempfile.gettempdir()) / f"rollproof-ports-{os.getuid()}"
        self._next = os.getpid() % len(ports)

    def take(self, taken: Collection[int] = ()) -> HeldPort:
        """A port outside `taken` that nobody holds and nobody is bound to. Raises Temporary if there is none."""
        for _ in self._ports:
            number = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            if number not in taken and (held := self.hold(number)):
                if _is_bindable(number):
                    return held
                held.close()
        raise Temporary(
            f"no free loopback port between {self._ports.start} and {self._ports.stop - 1}",
            hint="stop other rehearsals or whatever listens there, then try again",
        )

    def hold(self, number: int) -> HeldPort | None:
        """This very port, or None if another process holds it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._directory / str(number), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return HeldPort(number, descriptor)


def _is_bindable(number: int) -> bool:
    """Without SO_REUSEADDR, so that connections still in TIME_WAIT count as taken, too."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
