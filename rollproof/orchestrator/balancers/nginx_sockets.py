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
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

_PIDFD_GETFD = 438  # the same number on every architecture
_ESTABLISHING = frozenset({"01", "02", "08"})  # ESTABLISHED, SYN_SENT, CLOSE_WAIT
_PROC = Path("/proc")

Socket = tuple[int, int, str]
"""Process, descriptor, and the socket's inode: the same as long as the connection lives."""


def can_shut() -> bool:
    """Whether this process may borrow descriptors: tried on itself: kernel and sandbox decide."""
    if not sys.platform.startswith("linux"):
        return False
    reading, writing = os.pipe()
    try:
        os.close(_borrow(os.getpid(), reading))
    except OSError:
        return False
    finally:
        os.close(reading)
        os.close(writing)
    return True


def find_sockets(processes: Iterable[int], address: str) -> list[Socket]:
    """The processes' connections to `address`."""
    found: list[Socket] = []
    for pid in processes:
        with suppress(OSError):
            inodes = _inodes_to(pid, address)
            if inodes:
                found += [(pid, fd, inode) for fd, inode in _descriptors(pid) if inode in inodes]
    return found


def shut(sockets: Iterable[Socket]) -> int:
    """Shut each of them down; one that is gone meanwhile is passed over. Returns how many were shut."""
    done = 0
    for pid, fd, inode in sockets:
        with suppress(OSError):
            borrowed = socket.socket(fileno=_borrow(pid, fd))
            with borrowed:
                if str(os.fstat(borrowed.fileno()).st_ino) == inode:
                    borrowed.shutdown(socket.SHUT_RDWR)
                    done += 1
    return done


def _borrow(pid: int, fd: int) -> int:
    pidfd = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        borrowed = libc.syscall(_PIDFD_GETFD, pidfd, fd, 0)
        if borrowed < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(borrowed)
    finally:
        os.close(pidfd)


def _inodes_to(pid: int, address: str) -> set[str]:
    """Inodes of the TCP sockets in the process's network whose other end is `address`."""
    host, _, port = address.rpartition(":")
    ip = ip_address(host.strip("[]"))
    table = _PROC / str(pid) / "net" / ("tcp6" if ip.version == 6 else "tcp")
    wanted = f"{_as_kernel(ip.packed)}:{int(port):04X}"
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return {row[9] for row in rows if row[2] == wanted and row[3] in _ESTABLISHING}


def _as_kernel(packed: bytes) -> str:
    """An address as /proc/net/tcp has it: 32-bit words of the machine's byte order.

    >>> _as_kernel(bytes([127, 0, 0, 1])) in ("0100007F", "7F000001")
    True
    """
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


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
