"""The task metadata and task-protection endpoints at their own address, for every task of a simulation.

The answers are the local stage's (orchestrator/runtimes/task_endpoint.py). Any asyncio client reaches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from rollproof.orchestrator.ports import TaskSpec
from rollproof.orchestrator.runtimes.launch_plan import task_facts
from rollproof.orchestrator.runtimes.metadata import TaskCondition
from rollproof.orchestrator.runtimes.task_endpoint import REQUEST_LIMIT, Answer, Request, TaskAnswers, encode
from rollproof.orchestrator.runtimes.task_protection import Protection

HOST, PORT = "169.254.170.2", 80  # ECS-DG/task-metadata-endpoint-v4
_UNKNOWN = Answer(404, "text/plain; charset=utf-8", b"404 page not found\n")


class SimAgent:
    """`start` before any task; `add` gives the variables that a task finds it by."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskAnswers] = {}

    async def start(self) -> None:
        await asyncio.start_server(self._serve, HOST, PORT, limit=REQUEST_LIMIT)

    def add(
        self, spec: TaskSpec, told_to_stop: Callable[[], bool], on_protection: Callable[[Protection], None]
    ) -> dict[str, str]:
        """`told_to_stop`: DesiredStatus changes with the stop signal, and not when draining begins (AGENT)."""
        facts, started_at = task_facts(spec, time.time()), time.time()

        def condition() -> TaskCondition:
            return TaskCondition("STOPPED" if told_to_stop() else "RUNNING", started_at=started_at)

        self._tasks[facts.docker_id] = answers = TaskAnswers(facts, condition, lambda: None, on_protection)
        return answers.environment_at(f"http://{HOST}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            request = await _read(reader)
            docker_id = request.path.lstrip("/").split("/")[1:2]
            task = self._tasks.get(docker_id[0]) if docker_id else None
            writer.write(encode(task.answer(request) if task is not None else _UNKNOWN))
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    """Raises ValueError for what is no HTTP, EOFError for half a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.split("\r\n")
    method, path, _version = request_line.split(" ")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = min(int(fields.get("content-length", "0")), REQUEST_LIMIT)
    return Request(method, path, await reader.readexactly(length))
