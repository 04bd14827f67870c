"""From the Engine's answers and a task's records to what the task endpoints tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollproof.orchestrator.runtimes.docker_container import ContainerState, unix_time
from rollproof.orchestrator.runtimes.metadata import ContainerHealth, ResourceSample, TaskCondition
from rollproof.orchestrator.runtimes.task_directory import Record
from rollproof.orchestrator.runtimes.task_protection import Protection


def task_condition(state: ContainerState | None, records: Sequence[Record]) -> TaskCondition:
    """DesiredStatus turns STOPPED with the stop signal, not before (metadata.py)."""
    signalled_at = next((record["at"] for record in records if record["kind"] == "signalled"), None)
    return TaskCondition(
        desired_status="RUNNING" if signalled_at is None else "STOPPED",
        started_at=state.started_at if state else None,
        execution_stopped_at=signalled_at,
        health=container_health(state) if state else None,
    )


def container_health(state: ContainerState) -> ContainerHealth | None:
    """None for a container without a health check. `starting` is ECS's UNKNOWN."""
    if not state.health:
        return None
    status = {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}.get(state.health, "UNKNOWN")
    last = state.health_log[-1] if state.health_log else {}
    since = state.started_at or 0.0
    return ContainerHealth(status, since, last.get("ExitCode"), str(last.get("Output", "")))


def protection_of(records: Sequence[Record]) -> Protection:
    """The protection that was granted last."""
    last = next((record for record in reversed(records) if record["kind"] == "protection"), None)
    if last is None:
        return Protection()
    return Protection(last["enabled"], last["expires_in_minutes"], last["expires_at"])


def resource_sample(stats: Mapping[str, Any]) -> ResourceSample | None:
    """GET /containers/{name}/stats; None for a container that does not run."""
    at = unix_time(stats.get("read", ""))
    cpu = stats.get("cpu_stats") or {}
    if at is None or "system_cpu_usage" not in cpu:
        return None
    usage = cpu["cpu_usage"]
    return ResourceSample(
        at=at,
        cpu_user_ns=int(usage["usage_in_usermode"]),
        cpu_system_ns=int(usage["usage_in_kernelmode"]),
        memory_bytes=int((stats.get("memory_stats") or {}).get("usage", 0)),
        processes=int((stats.get("pids_stats") or {}).get("current", 0)),
        host_cpu_ns=int(cpu["system_cpu_usage"]),
        host_cpus=int(cpu.get("online_cpus", 1)),
    )
