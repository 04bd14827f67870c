"""Redis answers late: a slow command, a full network, a failover that hangs."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, at_least, parameter


@dataclass(frozen=True)
class RedisSlow(Fault):
    name = "redis-slow"
    summary = "every answer of Redis comes later"
    example = "redis-slow delay_s=1.5 at deployment started for 120 s"
    hits = Hits.REDIS
    delay_s: float = parameter(1.0, "s", "added to every answer")

    def check(self) -> None:
        at_least(self, 0, "delay_s")

    async def strike(self, scene: Scene, target: str) -> Struck:
        redis = scene.redis
        redis.delay_s += self.delay_s

        async def undo() -> None:
            redis.delay_s -= self.delay_s

        return Struck(undo)
