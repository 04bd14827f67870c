"""Turns changes of the world into history records, by comparing what it looked like with what it looks like.

Comparing snapshots (instead of recording at each command) means that nothing can change unrecorded, whoever
changed it and whatever was lost in between.
"""

from __future__ import annotations

from typing import Any

from rollproof.core.describe import deployment_facts, target_facts, task_facts
from rollproof.core.world import World
from rollproof.history import Recorder


class WorldRecorder:
    """Writes one record per thing that changed since the last call."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}
        self._events_until = -1.0

    def adopt(self, world: World, now: float) -> None:
        """Take the world as already recorded, after a restart."""
        self._seen = _facts(world, now)
        self._events_until = world.service_events[-1].at if world.service_events else -1.0

    def changed(self, world: World, now: float) -> None:
        facts = _facts(world, now)
        for event in world.service_events:
            if event.at > self._events_until:
                self._recorder.record("service_event", t=event.at, message=event.message)
                self._events_until = event.at
        for key, new in facts.items():
            old = self._seen.get(key)
            if old != new:
                self._record(key[0], old, new, now)
        for key in [key for key in self._seen if key not in facts]:
            self._vanished(key, now)
        self._seen = facts

    def _record(self, kind: str, old: dict[str, Any] | None, new: dict[str, Any], now: float) -> None:
        nodes = new.get("nodes", {})
        before = (old or {}).get("nodes", {})
        flat = {name: value for name, value in new.items() if name != "nodes"}
        if old is None or flat != {name: value for name, value in old.items() if name != "nodes"}:
            if old is not None and kind == "target":
                flat["previous"] = old["state"]
            self._recorder.record(kind, t=now, **flat)
        for node, state in nodes.items():
            if before.get(node) != state:
                self._recorder.record("node", t=now, node=node, target_id=new["target_id"], state=state)

    def _vanished(self, key: tuple[str, str], now: float) -> None:
        kind, old = key[0], self._seen[key]
        if kind == "target":
            fields = {"target_id": old["target_id"], "task_id": old["task_id"], "previous": old["state"]}
            reason = "Target.NotRegistered"
            self._recorder.record("target", t=now, **fields, state="unused", reason=reason)
        elif kind == "deployment":
            self._recorder.record("deployment", t=now, **(old | {"status": "INACTIVE", "running": 0, "pending": 0}))


def _facts(world: World, now: float) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, id) -> facts. Times that only repeat what `t` says are left out."""
    facts: dict[tuple[str, str], dict[str, Any]] = {}
    for deployment in world.deployments:
        told = deployment_facts(world, deployment)
        facts["deployment", deployment.id] = {k: v for k, v in told.items() if not k.endswith("_at")} | {
            "reason": told["rollout_state_reason"]
        }
        del facts["deployment", deployment.id]["rollout_state_reason"]
    for task in world.tasks.values():
        facts["task", task.id] = {k: v for k, v in task_facts(task).items() if not k.endswith("_at")}
        if task.registered_at is not None:
            facts["task", task.id]["target_id"] = task.address
    for target in world.targets.values():
        facts["target", target.id] = target_facts(world, target, now)
    return facts
