"""Redis forgets everything and stays up: FLUSHALL, or an eviction that took the wrong keys."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck


@dataclass(frozen=True)
class RedisFlush(Fault):
    name = "redis-flush"
    summary = "Redis forgets all it holds, and goes on"
    example = "redis-flush at target draining + 5 s"
    hits = Hits.REDIS
    can_end = False

    async def strike(self, scene: Scene, target: str) -> Struck:
        scene.redis.forget()
        return Struck()
