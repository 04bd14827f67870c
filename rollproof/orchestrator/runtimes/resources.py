"""What a task uses of the machine, from Linux's /proc; nothing elsewhere.

Imports the standard library only, and little of it: every task agent loads this module.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from rollproof.orchestrator.runtimes.metadata import ResourceSample

_PROC = Path("/proc")


def sample_group(group: int) -> ResourceSample | None:
    """Usage of all processes of a process group. None where there is no /proc."""
    if not (_PROC / "stat").exists():
        return None
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    user = system = memory = processes = 0
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid pgrp ...": a name may hold spaces and brackets. proc_pid_stat(5)
            fields = entry.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just gone
            continue
        if int(fields[2]) == group:
            processes += 1
            user, system, memory = user + int(fields[11]), system + int(fields[12]), memory + int(fields[21])
    return ResourceSample(
        at=time.time(),
        cpu_user_ns=user * tick_ns,
        cpu_system_ns=system * tick_ns,
        memory_bytes=memory * page,
        processes=processes,
        host_cpu_ns=_host_ticks() * tick_ns,
        host_cpus=os.cpu_count() or 1,
    )


def _host_ticks() -> int:
    first_line = (_PROC / "stat").read_text(encoding="ascii").partition("\n")[0]
    return sum(int(ticks) for ticks in first_line.split()[1:9])


def used_mib(directory: Path) -> int:
    """Size of the files below `directory`, in MiB, rounded down."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total // (1024 * 1024)
