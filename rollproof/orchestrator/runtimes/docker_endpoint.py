"""What all containers see of ECS from inside: metadata endpoint v4 and task protection, on one port.

On AWS each task has them at 169.254.170.2, in its own network namespace. Here one server in the orchestrator's
container serves all tasks on the project's network; the endpoint's id, part of the URI, says which. A task gets
answers about itself alone: a request from another address than the task's own is answered as an unknown id is.

Differs from AWS: while the orchestrator is down, nothing answers; tasks usually ask once, at their start.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rollproof.orchestrator.runtimes import metadata, task_protection
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition, TaskFacts
from rollproof.orchestrator.runtimes.task_endpoint import PATIENCE_S, REQUEST_LIMIT, Answer, Request, TokenBucket
from rollproof.orchestrator.runtimes.task_protection import Protection

PORT = 51679  # AGENT's own port for it [AGENT]
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 429: "Too Many Requests"}
_HEAD_LIMIT = 32 * 1024
_ID = re.compile(r"[0-9a-f]{32}-\d{10}")
_TEXT = "text/plain; charset=utf-8"


@dataclass
class EndpointTask:
    """One task as the endpoint needs it. `condition` and `sample` ask the Engine; `protect` writes a grant down."""

    facts: TaskFacts
    address: str  # host:port
    subnet: str
    condition: Callable[[], Awaitable[TaskCondition]]
    sample: Callable[[], Awaitable[ResourceSample | None]]
    protect: Callable[[Protection], None]
    protection: Protection
    previous: ResourceSample | None = None
    bucket: TokenBucket = field(default_factory=lambda: TokenBucket(time.monotonic()))

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]


class TaskEndpoints:
    """Serves on `host`:`port` (0: a free one) between `open` and `close`.

    `find` gives the task of an id's first part, None if there is none; `name` is how containers reach this server.
    """

    def __init__(
        self, find: Callable[[str], EndpointTask | None], *, host: str, port: int, name: str, speed: float = 1.0
    ) -> None:
        self._find, self._host, self._port, self._name, self._speed = find, host, port, name, speed
        self._tasks: dict[str, EndpointTask] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises OSError where the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=_HEAD_LIMIT)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def environment(self, docker_id: str) -> dict[str, str]:
        """What ECS injects into every container. ECS-DG/task-metadata-endpoint-v4."""
        base = f"http://{self._name}:{self._port}"
        return {
            "ECS_CONTAINER_METADATA_URI_V4": f"{base}/v4/{docker_id}",
            "ECS_AGENT_URI": f"{base}/api/{docker_id}",
        }

    def forget(self, task_id: str) -> None:
        self._tasks.pop(task_id, None)

    async def answer(self, request: Request, peer: str) -> Answer:
        """Route one request. Paths as in AGENT's tmds; anything else is Go's plain 404."""
        family, _, rest = request.path.partition("?")[0].lstrip("/").partition("/")
        endpoint_id, _, resource = rest.partition("/")
        task = self._task(endpoint_id, peer)
        if task is not None and not task.bucket.take(time.monotonic()):
            return Answer(429, _TEXT, b"You have reached maximum request limit.")
        if family == "v4" and request.method == "GET":
            return await self._answer_metadata(task, endpoint_id, resource.rstrip("/"))
        if family == "api" and resource == "task-protection/v1/state":
            return self._answer_protection(task, request)
        return _not_found()

    def _task(self, endpoint_id: str, peer: str) -> EndpointTask | None:
        if not _ID.fullmatch(endpoint_id):
            return None
        task_id = endpoint_id[:32]
        task = self._tasks.get(task_id) or self._find(task_id)
        if task is None or task.facts.docker_id != endpoint_id or task.host != peer:
            return None
        self._tasks[task_id] = task
        return task

    async def _answer_metadata(self, task: EndpointTask | None, endpoint_id: str, resource: str) -> Answer:
        if task is None:
            handler = "task" if resource.startswith("task") else "container"
            return _json(404, f"V4 {handler} metadata handler: unable to find a container with id: {endpoint_id}")
        facts = task.facts
        match resource:
            case "":
                return _json(200, _networked(metadata.container_response(facts, await task.condition()), task))
            case "task" | "taskWithTags":
                condition, with_tags = await task.condition(), resource == "taskWithTags"
                response = metadata.task_response(facts, condition, time.time(), with_tags=with_tags)
                containers = [_networked(container, task) for container in response["Containers"]]
                return _json(200, {**response, "Containers": containers})
            case "stats":
                return _json(200, metadata.stats_response(facts, *await _samples(task)))
            case "task/stats":
                return _json(200, metadata.task_stats_response(facts, *await _samples(task)))
        return _not_found()

    def _answer_protection(self, task: EndpointTask | None, request: Request) -> Answer:
        if task is None:
            error = {"Code": "ResourceNotFoundException", "Message": "Failed to find a task for the request"}
            return _json(404, {"error": error})
        arn, service, now = task.facts.task_arn, task.facts.service, time.time()
        if request.method == "GET":
            reply = task_protection.read(arn, service, task.protection, now)
        elif request.method == "PUT":
            reply = task_protection.update(arn, service, request.body, now, self._speed)
        else:
            return Answer(405, _TEXT, b"")
        if reply.granted is not None:
            task.protection = reply.granted
            task.protect(reply.granted)
        return _json(reply.status, reply.body)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE_S):
                try:
                    answer = await self.answer(await _receive(reader), writer.get_extra_info("peername")[0])
                except (ValueError, asyncio.LimitOverrunError):
                    answer = Answer(400, _TEXT, b"400 Bad Request")
                writer.write(_encode(answer))
                await writer.drain()
        writer.close()


async def _receive(reader: asyncio.StreamReader) -> Request:
    """One request; ValueError if it is not HTTP/1 or too large."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _version = request_line.split(" ")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= REQUEST_LIMIT or "transfer-encoding" in headers:
        raise ValueError("unsupported body")
    return Request(method, path, await reader.readexactly(length))


async def _samples(task: EndpointTask) -> tuple[ResourceSample | None, ResourceSample | None]:
    previous, task.previous = task.previous, await task.sample()
    return task.previous, previous


def _networked(response: dict[str, Any], task: EndpointTask) -> dict[str, Any]:
    """The response with the task's own network in place of the loopback."""
    network = {
        "NetworkMode": "awsvpc",
        "IPv4Addresses": [task.host],
        "AttachmentIndex": 0,
        "IPv4SubnetCIDRBlock": task.subnet,
        "PrivateDNSName": f"ip-{task.host.replace('.', '-')}.ec2.internal",
    }
    return {**response, "Networks": [network]}


def _encode(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + answer.body


def _json(status: int, value: Any) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


def _not_found() -> Answer:
    return Answer(404, _TEXT, b"404 page not found\n")
