"""What a container's PID namespace does for a task, as far as an ordinary process can have it.

| in a container                                        | here                                                    |
|-------------------------------------------------------|---------------------------------------------------------|
| all of it dies with PID 1                             | the process group is killed, and on Linux every orphan  |
|                                                       | that the agent inherited (PR_SET_CHILD_SUBREAPER)       |
| PID 1 ignores a signal that it has no handler for     | such a signal is not delivered (Linux: SigCgt, SigBlk)  |
| PID 1 dies with its host's runtime                    | PR_SET_PDEATHSIG on Linux; else the runtime sees it     |

Differs from AWS: outside Linux a process that has left the task's process group survives the task, and
an unhandled signal takes its default action. Imports the standard library only: every task agent loads it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_IS_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _IS_LINUX else None


def inherit_orphans() -> None:
    """Make this process the parent of descendants that lose theirs, so that it can still find them."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` for a child that must not outlive this process, or None where there is no such thing."""
    libc, parent = _libc, os.getpid()
    if libc is None:
        return None

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def pid1_takes(pid: int, number: int) -> bool:
    """Would this process, as PID 1 of a container, notice the signal? pid_namespaces(7).

    The kernel drops a signal for a namespace's init unless it is caught or blocked (waiting to be
    fetched): the reason why `CMD sh -c "..."` containers sit out their stop timeout.
    """
    if not _IS_LINUX:
        return True
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    masks = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("SigCgt", "SigBlk")))
    taken = int(masks.get("SigCgt", "0"), 16) | int(masks.get("SigBlk", "0"), 16)
    return bool(taken >> (number - 1) & 1)


def kill_group(group: int) -> None:
    """SIGKILL to all of a process group; gone already is fine (macOS says EPERM of a group of zombies)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def kill_children(patience_s: float = 2.0) -> None:
    """SIGKILL every child of this process, inherited orphans included, until none is left.

    Each death may hand over grandchildren, hence the rounds. Without Linux's /proc there is nothing to
    find: only the group was killed.
    """
    give_up_at = time.monotonic() + patience_s
    while (children := _children()) and time.monotonic() < give_up_at:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread has ended
            found.extend(int(pid) for pid in thread.read_text(encoding="ascii").split())
    return found
