"""Redis is gone: its connections are reset and new ones refused. What it holds is kept, or not."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, parameter


@dataclass(frozen=True)
class RedisDown(Fault):
    name = "redis-down"
    summary = "Redis refuses connections; what it holds is there again afterwards, unless forgets=yes"
    example = "redis-down at warmed-up + 10 s for 20 s"
    hits = Hits.REDIS
    forgets: bool = parameter(False, "", "it comes back empty")

    async def strike(self, scene: Scene, target: str) -> Struck:
        redis = scene.redis
        redis.stop()
        if self.forgets:
            redis.flush()
        return Struck(redis.start)
