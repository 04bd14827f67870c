"""What a task sees of ECS from inside: its metadata endpoint v4 and its task-protection endpoint.

Served by the task agent on a loopback port of its own, so that both outlive the orchestrator. One short
request a connection, answered with `Connection: close`; a thread each, so a stalled client delays no other.
The rate limit is AGENT's default, 40 requests a second with a burst of 60; above it 429 [AGENT; Fargate unsure].

Imports the standard library only, and little of it: every task agent loads this module.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rollproof.orchestrator.runtimes import metadata, task_protection
from rollproof.orchestrator.runtimes.metadata import ResourceSample, TaskCondition, TaskFacts
from rollproof.orchestrator.runtimes.task_protection import Protection

STEADY_RATE = 40.0
BURST = 60
REQUEST_LIMIT = 64 * 1024  # bytes of head and of body
PATIENCE_S = 5.0  # for one request to arrive and its answer to be taken

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 429: "Too Many Requests"}


class TokenBucket:
    """`rate` requests a second, `burst` at once. Not thread-safe; `now` in seconds of any steady clock."""

    def __init__(self, now: float, rate: float = STEADY_RATE, burst: int = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._filled_at = float(burst), now

    def take(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Request(NamedTuple):
    method: str
    path: str
    body: bytes


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class TaskAnswers:
    """What the endpoint answers, whoever carries it.

    `condition` and `sample` are asked anew for every request; `on_protection` is told of every grant.
    """

    def __init__(
        self,
        facts: TaskFacts,
        condition: Callable[[], TaskCondition],
        sample: Callable[[], ResourceSample | None],
        on_protection: Callable[[Protection], None],
        speed: float = 1.0,
    ) -> None:
        self._facts, self._condition, self._sample = facts, condition, sample
        self._on_protection, self._speed = on_protection, speed
        self._protection = Protection()
        self._previous_sample: ResourceSample | None = None
        self._bucket = TokenBucket(time.monotonic())
        self._lock = threading.Lock()

    def environment_at(self, base: str) -> dict[str, str]:
        """What ECS injects into every container. ECS-DG/task-metadata-endpoint-v4. `base`: "http://host:port"."""
        docker_id = self._facts.docker_id
        return {
            "ECS_CONTAINER_METADATA_URI_V4": f"{base}/v4/{docker_id}",
            "ECS_AGENT_URI": f"{base}/api/{docker_id}",
        }

    def answer(self, request: Request) -> Answer:
        """Route one request. Paths as in AGENT's tmds; anything else is Go's plain 404."""
        with self._lock:
            if not self._bucket.take(time.monotonic()):
                return Answer(429, "text/plain; charset=utf-8", b"You have reached maximum request limit.")
            family, _, rest = request.path.partition("?")[0].lstrip("/").partition("/")
            endpoint_id, _, resource = rest.partition("/")
            if family == "v4" and request.method == "GET":
                return self._answer_metadata(endpoint_id, resource.rstrip("/"))
            if family == "api" and resource == "task-protection/v1/state":
                return self._answer_protection(endpoint_id, request)
            return _not_found()

    def _answer_metadata(self, endpoint_id: str, resource: str) -> Answer:
        facts, now = self._facts, time.time()
        if endpoint_id != facts.docker_id:
            handler = "task" if resource.startswith("task") else "container"
            return _json(404, f"V4 {handler} metadata handler: unable to find a container with id: {endpoint_id}")
        match resource:
            case "":
                return _json(200, metadata.container_response(facts, self._condition()))
            case "task":
                return _json(200, metadata.task_response(facts, self._condition(), now))
            case "taskWithTags":
                return _json(200, metadata.task_response(facts, self._condition(), now, with_tags=True))
            case "stats":
                return _json(200, metadata.stats_response(facts, *self._samples()))
            case "task/stats":
                return _json(200, metadata.task_stats_response(facts, *self._samples()))
        return _not_found()

    def _answer_protection(self, endpoint_id: str, request: Request) -> Answer:
        facts, now = self._facts, time.time()
        if endpoint_id != facts.docker_id:
            error = {"Code": "ResourceNotFoundException", "Message": "Failed to find a task for the request"}
            return _json(404, {"error": error})
        if request.method == "GET":
            reply = task_protection.read(facts.task_arn, facts.service, self._protection, now)
        elif request.method == "PUT":
            reply = task_protection.update(facts.task_arn, facts.service, request.body, now, self._speed)
        else:
            return Answer(405, "text/plain; charset=utf-8", b"")
        if reply.granted is not None:
            self._protection = reply.granted
            self._on_protection(reply.granted)
        return _json(reply.status, reply.body)

    def _samples(self) -> tuple[ResourceSample | None, ResourceSample | None]:
        previous, self._previous_sample = self._previous_sample, self._sample()
        return self._previous_sample, previous


class TaskEndpoint(TaskAnswers):
    """Binds at once, serves after `start`."""

    def __init__(
        self,
        facts: TaskFacts,
        condition: Callable[[], TaskCondition],
        sample: Callable[[], ResourceSample | None],
        on_protection: Callable[[Protection], None],
        speed: float = 1.0,
    ) -> None:
        super().__init__(facts, condition, sample, on_protection, speed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    @property
    def environment(self) -> dict[str, str]:
        return self.environment_at(f"http://127.0.0.1:{self.port}")

    def start(self) -> None:
        threading.Thread(target=self._accept, name="task-endpoint", daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the task is over
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            try:
                answer = self.answer(_receive(connection))
            except ValueError:
                answer = Answer(400, "text/plain; charset=utf-8", b"400 Bad Request")
            connection.sendall(encode(answer))


def _receive(connection: socket.socket) -> Request:
    """One request; ValueError if it is not HTTP/1 or too large."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection, received)
    head, _, body = received.partition(b"\r\n\r\n")
    request_line, *header_lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
    method, path, _version = request_line.split(" ")
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= REQUEST_LIMIT or "transfer-encoding" in headers:
        raise ValueError("unsupported body")
    if headers.get("expect", "").lower() == "100-continue" and len(body) < length:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < length:
        body += _more(connection, body)
    return Request(method, path, body[:length])


def _more(connection: socket.socket, received: bytes) -> bytes:
    chunk = connection.recv(16_384)
    if not chunk or len(received) > REQUEST_LIMIT:
        raise ValueError("truncated or too large")
    return chunk


def encode(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + answer.body


def _json(status: int, value: Any) -> Answer:
    return Answer(status, "application/json", json.dumps(value).encode())


def _not_found() -> Answer:
    return Answer(404, "text/plain; charset=utf-8", b"404 page not found\n")
