"""Tasks take longer to listen: a cold cache, a migration, an import that grew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rollproof.orchestrator.ports import TaskSpec
from rollproof.sim.faults.fault import Fault, Hits, Scene, Struck, at_least, parameter
from rollproof.sim.process import Programme, SimProcess


@dataclass(frozen=True)
class SlowStart(Fault):
    name = "slow-start"
    summary = "tasks that start from then on listen later"
    example = "slow-start extra_s=90 at deployment started"
    hits = Hits.SERVICE
    extra_s: float = parameter(60.0, "s", "before their server begins to start")

    def check(self) -> None:
        at_least(self, 0, "extra_s")

    async def strike(self, scene: Scene, target: str) -> Struck:
        runtime = scene.sim.runtime
        before = runtime.wrap

        def slowed(spec: TaskSpec, programme: Programme) -> Programme:
            usual = before(spec, programme)

            async def run(process: SimProcess) -> int:
                await asyncio.sleep(self.extra_s)
                return await usual(process)

            return run

        runtime.wrap = slowed

        async def undo() -> None:
            runtime.wrap = before

        return Struck(undo)
