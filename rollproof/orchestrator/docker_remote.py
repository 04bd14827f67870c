"""The docker stage as a client in another container sees it: what `LocalStage` offers, over the control socket.

The client has the same volumes (state, runs) and the same clock, since both containers run on one kernel. It
appends what its probe sees to the run's history itself; everything else it asks for (docker_control.py). An
orchestrator that is killed and started again meanwhile is waited for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, Temporary, UsageError
from rollproof.core.events import RequestedEvent, ServiceUpdateRequested
from rollproof.core.world import World
from rollproof.history import HistoryFile, Record
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.docker_programme import PROGRAMME, Programme
from rollproof.orchestrator.stage import Usage
from rollproof.orchestrator.stage_files import StagePlan, control_socket
from rollproof.orchestrator.stage_state import WORLD

Listener = Callable[[Record], None]

_LINE_LIMIT = 1 << 24
_ANSWER_TIMEOUT_S = 120.0  # a stage that is set anew ends its old tasks first
_PATIENCE_S = 60.0  # for an orchestrator that is being started again
_RETRY_S = 0.5
_LOOK_S = 0.1
HINT = "docker compose ps orchestrator; docker compose up -d starts it"


class Connection:
    """One request at a time. Connects when needed, again if it broke."""

    def __init__(self, state_dir: Path) -> None:
        self._path = control_socket(state_dir)
        self._busy = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, do: str, *, patience_s: float = _PATIENCE_S, **fields: Any) -> dict[str, Any]:
        """Raises UsageError with the orchestrator's own answer, Temporary where none answers for `patience_s`."""
        line = json.dumps({"do": do, **fields}).encode() + b"\n"
        give_up_at = time.monotonic() + patience_s
        async with self._busy:
            while (answer := await self._exchange(line)) is None:
                if time.monotonic() > give_up_at:
                    raise Temporary(f"no orchestrator answers behind {self._path}", hint=HINT)
                await asyncio.sleep(_RETRY_S)
        if "error" in answer:
            raise UsageError(answer["error"], hint=answer.get("hint", ""))
        return dict(answer["ok"])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, line: bytes) -> dict[str, Any] | None:
        """None where nobody answers."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_unix_connection(self._path, limit=_LINE_LIMIT)
                reader, writer = self._streams
                writer.write(line)
                answer = await reader.readline()
            if answer.endswith(b"\n"):
                return dict(json.loads(answer))
        except (OSError, TimeoutError, ValueError):
            pass
        self.close()
        return None


class RemoteOrchestrator:
    """The world as of a tenth of a second ago. `follow` keeps it so."""

    def __init__(self, connection: Connection, clock: StageClock, world: World) -> None:
        self.world, self.clock, self.trouble = world, clock, ""
        self._connection = connection
        self._changed = asyncio.Condition()
        self._telling: set[asyncio.Task[Any]] = set()

    def tell(self, event: RequestedEvent) -> None:
        """Ask for it; an error comes out of `follow`."""
        kind = "service_update" if isinstance(event, ServiceUpdateRequested) else "task_stop"
        asked = asyncio.ensure_future(self._connection.ask("tell", event={kind: asdict(event)}))
        self._telling.add(asked)

    async def wait_for(self, condition: Callable[[World], bool]) -> None:
        """Returns when `condition(world)` holds."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.world))

    async def refresh(self) -> None:
        answer = await self._connection.ask("world")
        async with self._changed:
            self.world, self.trouble = WORLD.validate_python(answer["world"]), str(answer["trouble"])
            self._changed.notify_all()

    async def follow(self) -> None:
        while True:
            for done in [task for task in self._telling if task.done()]:
                self._telling.discard(done)
                done.result()
            await self.refresh()
            await asyncio.sleep(_LOOK_S)


class _Redis:
    """What is told of a Redis that somebody else looks after."""

    def __init__(self, description: str) -> None:
        self.description = description


class RemoteStage:
    """One run on the stage that is up."""

    def __init__(
        self, connection: Connection, begun: Mapping[str, Any], world: World, listener: Listener | None
    ) -> None:
        self._connection = connection
        self.programme: Programme = PROGRAMME.validate_python(begun["programme"])
        self.plan: StagePlan = replace(self.programme.plan, run_dir=Path(begun["run_dir"]))
        self.redis = _Redis(str(begun["redis"])) if begun["redis"] else None
        self.balancer = str(begun["balancer"])
        self.clock = StageClock.from_json(begun["clock"])
        self.history = HistoryFile(self.plan.run_dir / "history.jsonl", self.clock)
        self.orchestrator = RemoteOrchestrator(connection, self.clock, world)
        self.running = asyncio.create_task(self._run(listener), name="follow the orchestrator")

    @property
    def endpoint(self) -> str:
        return self.plan.endpoint

    async def kill_task(self, task_id: str) -> None:
        """The fault "a task dies": SIGKILL from outside, unknown to the scheduler."""
        await self._connection.ask("kill-task", task=task_id)

    async def restart_redis(self) -> None:
        """The fault "Redis restarts": the orchestrator sees to it."""
        await self._connection.ask("restart-redis")

    async def usage(self) -> Usage:
        return Usage(**await self._connection.ask("usage"))

    async def _run(self, listener: Listener | None) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.orchestrator.follow())
            if listener is not None:
                group.create_task(_tell(listener, self.plan.run_dir / "history.jsonl"))

    async def end(self) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self.running
        self.history.close()


@asynccontextmanager
async def open_run(
    state_dir: Path, name: str, programme: Programme | None, listener: Listener | None = None
) -> AsyncIterator[RemoteStage]:
    """A run of its own on the stage that is up; with another `programme`, on the stage set anew.

    The stage stays. Raises Temporary where no orchestrator answers, UsageError with what it says.
    """
    connection = Connection(state_dir)
    wanted = None if programme is None else PROGRAMME.dump_python(programme, mode="json")
    try:
        begun = await connection.ask("begin-run", patience_s=5.0, name=name, programme=wanted)
        world = WORLD.validate_python((await connection.ask("world"))["world"])
        try:
            stage = RemoteStage(connection, begun, world, listener)
        except OSError as error:
            raise Permanent(
                f"cannot write to the run in {begun['run_dir']}: {error}",
                hint="docker compose run --rm client rehearse",
            ) from error
        try:
            yield stage
        finally:
            await stage.end()
            with suppress(Temporary, UsageError):
                await connection.ask("end-run", patience_s=5.0)
    finally:
        connection.close()


async def _tell(listener: Listener, path: Path) -> None:
    """Every record of the history as it comes, whoever writes it."""
    with path.open("rb") as file:
        rest = b""
        while True:
            lines = (rest + file.read()).split(b"\n")
            rest = lines.pop()
            for line in lines:
                listener(json.loads(line))
            await asyncio.sleep(_LOOK_S)
