"""A task's id comes from the ECS metadata endpoint; without it the server still has a name."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server import task_metadata
from server.task_metadata import find_task_id

FALLBACK = f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def metadata_endpoint(body: bytes, status: int = 200) -> Iterator[str]:
    """The URI that ECS would set, of an endpoint that answers `body` at <uri>/task."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/v4/container/task" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{endpoint.server_port}/v4/container"
        finally:
            endpoint.shutdown()
            thread.join()


def test_the_id_is_the_last_part_of_the_arn() -> None:
    body = b'{"TaskARN": "arn:aws:ecs:us-east-1:123456789012:task/mcp-cluster/0123456789abcdef", "Family": "mcp"}'
    with metadata_endpoint(body) as uri:
        assert find_task_id(uri) == "0123456789abcdef"
        assert find_task_id(f"{uri}/") == "0123456789abcdef"


def test_outside_ecs_it_is_host_and_process() -> None:
    assert find_task_id(None) == FALLBACK


@pytest.mark.parametrize(
    ("body", "status"), [(b"{}", 200), (b"[]", 200), (b'{"TaskARN": ""}', 200), (b"no JSON", 200), (b"{}", 500)]
)
def test_an_endpoint_that_does_not_know_is_no_obstacle(
    body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with metadata_endpoint(body, status) as uri:
        assert find_task_id(uri) == FALLBACK
    assert [record.message for record in caplog.records] == ["task_metadata_unavailable"]


def test_an_endpoint_that_is_not_there_or_hangs_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_metadata, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/v4/container"
        assert find_task_id(uri) == FALLBACK
    assert find_task_id(uri) == FALLBACK
