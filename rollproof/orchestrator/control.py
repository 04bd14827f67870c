"""How another process talks to a running orchestrator: one JSON object a line, over a unix socket of mode 0600.

    {"do": "status"}                                        -> {"ok": {...describe...}}
    {"do": "update-service", "force_new_deployment": true}  -> {"ok": {"deployment": "ecs-svc/..."}}
    {"do": "stop-task", "task": "3f2a", "reason": "..."}     -> {"ok": {"task_id": "..."}}
    {"do": "kill-task", "task": "3f2a"}                      -> {"ok": {"task_id": "..."}}
    {"do": "restart-redis"}                                  -> {"ok": {}}, when it answers again
    {"do": "usage"}                                          -> {"ok": {"redis_commands": {...}, "cpu_s": {...}}}
    {"do": "shut-down"}                                      -> {"ok": {}}, and the orchestrator ends its stage

An error answers {"error": message, "hint": what next}.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.core.events import ServiceUpdateRequested, TaskStopRequested
from rollproof.core.settings import ServiceSettings, TaskDefinition
from rollproof.core.world import World
from rollproof.orchestrator.stage import OwnStage
from rollproof.orchestrator.stage_files import control_socket

_LINE_LIMIT = 1 << 24
_ANSWER_TIMEOUT_S = 10.0
_NUMBERS = ("desired_count", "minimum_healthy_percent", "maximum_percent")


class ControlServer:
    """Answers requests about `stage`. `shut_down` is set when one asks for the end."""

    def __init__(self, stage: OwnStage) -> None:
        self._stage = stage
        self.shut_down = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> ControlServer:
        path = control_socket(self._stage.plan.state_dir)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_LINE_LIMIT)
        os.chmod(path, 0o600)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None  # noqa: S101 - start_unix_server makes one for each
        self._connections.add(connection)
        try:
            with suppress(OSError, ValueError, asyncio.CancelledError):  # gone, a line without end, or the stage ends
                while line := await reader.readline():
                    answer = await self._answer(line)
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        finally:
            self._connections.discard(connection)
            await _hang_up(writer)

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": await self._do(_read_request(line))}
        except RollproofError as error:
            return {"error": error.message, "hint": error.hint}

    async def _do(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        stage, orchestrator = self._stage, self._stage.orchestrator
        match asked.get("do"):
            case "status":
                plan = stage.plan
                return orchestrator.describe() | {
                    "endpoint": plan.endpoint, "speed": plan.speed, "run_dir": str(plan.run_dir), "pid": os.getpid(),
                }  # fmt: skip
            case "update-service":
                request = update_request(orchestrator.world, asked)
                number = orchestrator.world.deployments_made
                orchestrator.tell(request)
                if request.task_definition is not None or request.force_new_deployment:
                    stage.history.record("mark", name="deployment-triggered")
                    await orchestrator.wait_for(lambda world: world.deployments_made > number)
                return {"deployment": orchestrator.world.primary.id}
            case "stop-task":
                task_id = find_task(orchestrator.world, str(asked.get("task", "")))
                stage.history.record("fault", name="stop-task", target=task_id)
                orchestrator.tell(TaskStopRequested(task_id, str(asked.get("reason", ""))))
                return {"task_id": task_id}
            case "kill-task":
                task_id = find_task(orchestrator.world, str(asked.get("task", "")))
                await stage.kill_task(task_id)
                return {"task_id": task_id}
            case "restart-redis":
                await stage.restart_redis()
                return {}
            case "usage":
                return asdict(await stage.usage())
            case "shut-down":
                self.shut_down.set()
                return {}
            case other:
                raise UsageError(f"unknown request {other!r}")


def _read_request(line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise UsageError("a request is a JSON object")
    return asked


def update_request(world: World, asked: Mapping[str, Any]) -> ServiceUpdateRequested:
    """UpdateService from its JSON. A new image, command or environment registers the next revision.

    Raises UsageError for values of the wrong kind, or if nothing is asked for.
    """
    changes: dict[str, Any] = {}
    for name in _NUMBERS:
        if (value := asked.get(name)) is not None:
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"{name} must be a whole number, 0 or more, not {value!r}")
            changes[name] = value
    definition = _next_revision(world, asked)
    force = bool(asked.get("force_new_deployment"))
    if not (changes or definition or force):
        raise UsageError("nothing to change", hint="give --force-new-deployment, --image, --env, --desired-count, ...")
    _check_percents(replace(world.settings.service, **changes))
    return ServiceUpdateRequested(task_definition=definition, force_new_deployment=force, **changes)


def _check_percents(service: ServiceSettings) -> None:
    """What ECS refuses of an UpdateService. API-ECS DeploymentConfiguration."""
    low, high = service.minimum_healthy_percent, service.maximum_percent
    if low > 100:
        raise UsageError(f"minimum_healthy_percent is {low}", hint="it is 0 to 100")
    if low == high == 100:
        raise UsageError(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments",
            hint="raise the one or lower the other",
        )


def _next_revision(world: World, asked: Mapping[str, Any]) -> TaskDefinition | None:
    environment, image, command = asked.get("environment") or {}, asked.get("image"), asked.get("command") or []
    if not isinstance(environment, dict) or not isinstance(command, list):
        raise UsageError("environment is a JSON object, command a list of words")
    if not (environment or image or command):
        return None
    now = world.settings.task_definition
    revision = 1 + max(x.revision for x in world.definitions.values() if x.family == now.family)
    return replace(
        now,
        revision=revision,
        image=str(image or now.image),
        command=tuple(str(word) for word in command) or now.command,
        environment={**now.environment, **{str(k): str(v) for k, v in environment.items()}},
    )


def find_task(world: World, prefix: str) -> str:
    """The id of the one running task that begins with `prefix`; "" means the oldest. Raises UsageError otherwise."""
    running = sorted((x for x in world.tasks.values() if x.is_wanted), key=lambda x: x.created_at)
    found = [x.id for x in running if x.id.startswith(prefix)]
    if not found:
        raise UsageError(f"no running task {prefix!r}", hint="rollproof status lists them")
    if prefix and len(found) > 1:
        raise UsageError(f"{prefix!r} could be {len(found)} tasks", hint="give more of the id")
    return found[0]


class NothingUp(UsageError):
    """No orchestrator runs the stage, or it ended before it answered."""


async def ask(state_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the orchestrator of the stage in `state_dir`.

    Raises NothingUp if none runs, UsageError with its own answer, Temporary if it does not answer.
    """
    try:
        line = await _exchange(control_socket(state_dir), json.dumps(dict(request)).encode() + b"\n")
    except TimeoutError as error:
        raise Temporary(f"the orchestrator in {state_dir} does not answer", hint="try again") from error
    except OSError:
        line = b""
    if not line.endswith(b"\n"):
        raise NothingUp(
            f"no orchestrator answers in {state_dir}", hint="rollproof up starts one, and takes over what runs there"
        )
    answer = json.loads(line)
    if "error" in answer:
        raise UsageError(answer["error"], hint=answer.get("hint", ""))
    if not isinstance(answer.get("ok"), dict):
        raise Permanent(f"the orchestrator in {state_dir} gave no answer that is understood")
    return dict(answer["ok"])


async def _exchange(path: Path, line: bytes) -> bytes:
    """One line there, one line back; without its end where the other side died. Raises TimeoutError, OSError."""
    async with asyncio.timeout(_ANSWER_TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)
        try:
            writer.write(line)
            return await reader.readline()
        finally:
            await _hang_up(writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
