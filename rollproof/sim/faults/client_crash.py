"""A client dies in the middle of whatever it does, without a goodbye; it is back later as a new one, or never.

Its kernel closes its connections; its session stays where it is until the server forgets it. That must not hurt others.
"""

from __future__ import annotations

from dataclasses import dataclass

from rollproof.sim.faults.fault import LOCAL, SIM, Fault, Hits, Scene, Struck, parameter


@dataclass(frozen=True)
class ClientCrash(Fault):
    name = "client-crash"
    summary = "the client dies and says no goodbye; later it opens a new session, unless reopens=no"
    example = "client-crash of random at target draining for 15 s"
    hits = Hits.SESSION
    stages = frozenset({SIM, LOCAL})
    reopens: bool = parameter(True, "", "it is back as a new client when the fault ends; without an end never")

    async def strike(self, scene: Scene, target: str) -> Struck:
        await scene.probe.crash(target)

        async def undo() -> None:
            if self.reopens:
                scene.probe.reopen(target)

        return Struck(undo)
