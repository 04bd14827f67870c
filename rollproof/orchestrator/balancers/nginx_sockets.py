"""Ends another process's connections to one address: what an ALB does when a deregistration delay is over.

nginx itself can close a request's connection to its target only when something arrives on it. But a connection may be
shut down by whoever holds a descriptor of it, and Linux lends a process the descriptors of its descendants
(pidfd_getfd, Linux 5.6): no privilege is needed, only the same user. nginx then finds its target gone: it answers 502
where no response has begun, and ends the client's connection where one has.

In a container the default seccomp profile forbids the call; `cap_add: [SYS_PTRACE]` lifts that. Where it cannot be
made, `can_shut` is False, and lb/response.js ends streams at their next chunk instead.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PIDFD_GETFD = 438  # the same number on every architecture
_PROC = Path("/proc")


def can_shut() -> bool:
    """Whether this process may borrow descriptors: tried on itself: kernel and sandbox decide."""
    if not sys.platform.startswith("linux"):
        return False
    reading, writing = os.pipe()
    try:
        pidfd = os.pidfd_open(os.getpid())
        try:
            os.close(_borrow(pidfd, reading))
        finally:
            os.close(pidfd)
    except OSError:
        return False
    finally:
        os.close(reading)
        os.close(writing)
    return True


def connections(processes: Iterable[int]) -> dict[str, set[str]]:
    """The processes' TCP connections: the address at the other end, and the inodes of the sockets."""
    found: dict[str, set[str]] = {}
    for _, address, inode in _each(processes):
        found.setdefault(address, set()).add(inode)
    return found


def shut(processes: Iterable[int], addresses: Collection[str]) -> int:
    """Shut every connection of the processes to one of `addresses`. Returns how many there were."""
    done = 0
    for borrowed, address, _ in _each(processes):
        if address in addresses:
            with suppress(OSError):  # it has just been closed from the other end
                borrowed.shutdown(socket.SHUT_RDWR)
                done += 1
    return done


def _each(processes: Iterable[int]) -> Iterator[tuple[socket.socket, str, str]]:
    """Each connection: borrowed for the moment, its other end, its inode."""
    for pid in processes:
        with suppress(OSError):  # it has just ended
            pidfd = os.pidfd_open(pid)
            try:
                for fd, inode in _descriptors(pid):
                    with suppress(OSError), socket.socket(fileno=_borrow(pidfd, fd)) as borrowed:
                        peer = borrowed.getpeername()
                        if isinstance(peer, tuple):
                            yield borrowed, _text(peer), inode
            finally:
                os.close(pidfd)


def _text(peer: tuple[str, int]) -> str:
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


def _borrow(pidfd: int, fd: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    borrowed = libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
    if borrowed < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(borrowed)


def _descriptors(pid: int) -> list[tuple[int, str]]:
    """Sockets of a process: descriptor and inode."""
    found = []
    for link in (_PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):
            name = link.readlink().name
            if name.startswith("socket:["):
                found.append((int(link.name), name[8:-1]))
    return found


def children(pid: int) -> dict[int, str]:
    """The child processes of `pid`, with their titles: nginx's say what a worker is doing."""
    if (_PROC / "self" / "stat").exists():
        return {child: title for child in _numbers() if (title := _title(child, pid)) is not None}
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=False
    ).stdout
    rows = (line.split(None, 2) for line in listed.splitlines())
    return {int(row[0]): row[2] for row in rows if len(row) == 3 and row[1] == str(pid)}


def _numbers() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _title(pid: int, parent: int) -> str | None:
    """None if it is no child of `parent`, or has ended."""
    try:
        state, found = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
        if int(found) != parent or state == "Z":
            return None
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
