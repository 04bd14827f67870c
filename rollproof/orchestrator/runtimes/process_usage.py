"""CPU of tasks that run as processes, read from outside; nothing where there is no /proc."""

from __future__ import annotations

from pathlib import Path

from rollproof.orchestrator.runtimes.resources import sample_group
from rollproof.orchestrator.runtimes.task_directory import TaskDirectory


def cpu_seconds(runtime_directory: Path) -> dict[str, float]:
    """What each running task of a process runtime has used since it started, by its id."""
    used = {}
    for path in sorted((runtime_directory / "tasks").glob("[!.]*")):
        last = {record["kind"]: record for record in TaskDirectory(path).read_events()[0]}
        sample = sample_group(last["started"]["pid"]) if "started" in last and "exited" not in last else None
        if sample is not None:
            used[path.name] = sample.cpu_s
    return used
