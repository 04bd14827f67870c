"""The container's health check command says yes to 200 and no to everything else, in bounded time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server import healthcheck


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server whose /health answers `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1), (404, 1)])
def test_only_200_is_healthy(status: int, exit_code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(status) as port:
        monkeypatch.setenv("PORT", str(port))
        assert healthcheck.main() == exit_code


@pytest.mark.parametrize("port", ["", "x", "99999"])
def test_a_port_that_is_none_is_unhealthy(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(healthcheck, "DEFAULT_PORT", unused.getsockname()[1])
        monkeypatch.setenv("PORT", port)
        assert healthcheck.main() == 1
    assert capsys.readouterr().err.startswith("health check failed: ")


def test_a_server_that_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PORT", str(silent.getsockname()[1]))
        assert healthcheck.main() == 1
