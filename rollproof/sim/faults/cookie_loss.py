"""A client loses its cookies: a new HTTP client under the same session, a proxy that drops them."""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck


@dataclass(frozen=True)
class CookieLoss(Fault):
    name = "cookie-loss"
    summary = "the client loses its cookies, and keeps its session id"
    example = "cookie-loss of s02 at warmed-up + 10 s"
    hits = Hits.SESSION
    can_end = False
    stages = frozenset({SIM, LOCAL})

    async def strike(self, scene: Scene, target: str) -> Struck:
        scene.probe.lose_cookies(target)
        return Struck()
