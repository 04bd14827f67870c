"""The control socket of the docker stage: what the local one answers (control.py), and what a client in another
container needs to play a rehearsal against it (docker_remote.py):

    {"do": "health"}                        -> {"ok": {"ready": true}}: the service has been steady once
    {"do": "world"}                         -> {"ok": {"world": {...}, "trouble": ""}}
    {"do": "tell", "event": {...}}          -> {"ok": {}}; an event that may be requested (core/events.py)
    {"do": "begin-run", "name": "...", "programme": {...} or null}
                                            -> {"ok": {"programme", "run_dir", "clock", "redis", "balancer"}}
    {"do": "end-run"}                       -> {"ok": {}}

The socket is on a volume, mode 0600: whoever reaches it has been given the volume and runs as the same user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rollproof.core.errors import UsageError
from rollproof.core.events import ServiceUpdateRequested, TaskStopRequested
from rollproof.orchestrator.control import ControlServer
from rollproof.orchestrator.docker_programme import PROGRAMME, Programme
from rollproof.orchestrator.docker_site import DockerSite
from rollproof.orchestrator.docker_stage import DockerStage, begin, take_over_or_begin
from rollproof.orchestrator.stage_state import WORLD


class RequestedEvent(BaseModel):
    """One of the two requests, as JSON."""

    service_update: ServiceUpdateRequested | None = Field(default=None)
    task_stop: TaskStopRequested | None = Field(default=None)


EVENT: TypeAdapter[RequestedEvent] = TypeAdapter(RequestedEvent)


class DockerControlServer(ControlServer):
    """Answers for the stage, and can set it anew. `base` is what Compose asked for."""

    def __init__(self, stage: DockerStage, base: Programme, site: DockerSite) -> None:
        super().__init__(stage)
        self.stage = stage
        self._base, self._site = base, site
        self._setting = asyncio.Lock()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._follow(stage)

    @classmethod
    async def open(cls, base: Programme, site: DockerSite) -> DockerControlServer:
        return cls(await take_over_or_begin(base, site), base, site)

    def _follow(self, stage: DockerStage) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and self.stage is stage and not self.failed.done():
                self.failed.set_exception(task.exception() or RuntimeError("the orchestrator ended by itself"))

        stage.running.add_done_callback(ended)

    async def _do(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        match asked.get("do"):
            case "health":
                return {"ready": self.stage.is_ready}
            case "world":
                orchestrator = self.stage.orchestrator
                return {"world": WORLD.dump_python(orchestrator.world, mode="json"), "trouble": orchestrator.trouble}
            case "tell":
                self.stage.orchestrator.tell(_event(asked.get("event")))
                return {}
            case "begin-run":
                return await self._begin_run(str(asked.get("name") or "rehearsal"), asked.get("programme"))
            case "end-run":
                self.stage.end_run()
                return {}
        return await super()._do(asked)

    async def _begin_run(self, name: str, wanted: Any) -> dict[str, Any]:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"a run cannot be called {name!r}", hint="letters, digits, - and _")
        async with self._setting:
            if wanted is not None:
                await self._set(_programme(wanted))
            stage = self.stage
            stage.begin_run(name)
            return {
                "programme": PROGRAMME.dump_python(stage.programme, mode="json"),
                "run_dir": str(stage.run_dir),
                "clock": stage.clock.to_json(),
                "redis": stage.redis.description if stage.redis else "",
                "balancer": stage.balancer,
            }

    async def _set(self, wanted: Programme) -> None:
        """The stage anew, unless it is what is wanted already."""
        old = self.stage
        wanted = replace(wanted, plan=replace(wanted.plan, state_dir=old.plan.state_dir))
        if wanted.is_same_play(old.programme):
            return
        await old.abandon()
        self.stage = await begin(wanted, self._base, self._site)
        self._stage = self.stage
        self._follow(self.stage)


def _event(asked: Any) -> ServiceUpdateRequested | TaskStopRequested:
    try:
        event = EVENT.validate_python(asked)
    except ValidationError as error:
        raise UsageError(f"not an event that can be requested: {error}") from error
    found = event.service_update or event.task_stop
    if found is None:
        raise UsageError("no event", hint="service_update or task_stop")
    return found


def _programme(asked: Any) -> Programme:
    try:
        return PROGRAMME.validate_python(asked)
    except ValidationError as error:
        raise UsageError(f"not a programme of this version of rollproof: {error}") from error
