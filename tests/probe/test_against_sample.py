"""The probe against the sample server as it is deployed: real processes, real fastmcp."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollproof.history import read_history
from rollproof.probe import Era, Increments, ProbeOptions, Progress, run_probe
from rollproof.probe.__main__ import main

pytestmark = pytest.mark.e2e  # processes of the server

ROOT = Path(__file__).parents[2]


class Server:
    """`python -m server` in a process; `url` once it has said which port it got."""

    def __init__(self, environment: Mapping[str, str], port: int = 0) -> None:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server"],
            cwd=ROOT,
            env={**kept, "PORT": str(port), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        self._output = self.process.stdout
        self._reader = threading.Thread(target=self._output.read)  # so that the pipe never fills
        self.port = self._announced_port()
        self._reader.start()
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    def _announced_port(self) -> int:
        said = []
        for line in iter(self._output.readline, ""):
            said.append(line)
            if '"server_started"' in line:
                return int(json.loads(line)["port"])
        self.process.wait()
        self._output.close()
        raise AssertionError(f"the server did not start: {''.join(said)}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self._output.close()


@contextmanager
def server(**environment: str) -> Iterator[Server]:
    started = Server(environment)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture(scope="module")
def stateful() -> Iterator[Server]:
    with server(MCP_STATELESS_HTTP="false") as started:
        yield started


@pytest.fixture(scope="module")
def stateless() -> Iterator[Server]:
    with server(MCP_STATELESS_HTTP="true") as started:
        yield started


def probe(path: Path, url: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    history = path / "history.jsonl"
    summary = run_probe(ProbeOptions(url, **{"calls": 3, "delay_s": 0.0, **options}), history)
    return summary, list(read_history(history))


@pytest.mark.parametrize(("name", "whose"), [("stateful", "server"), ("stateless", "client")])
@pytest.mark.parametrize("era", [Era.LEGACY, Era.MODERN])
def test_both_transports_in_both_eras(
    name: str, whose: str, era: Era, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    started: Server = request.getfixturevalue(name)
    summary, records = probe(tmp_path, started.url, era=era, sessions=3, increments=Increments.KEYED)
    calls = 3 * 3 * 3 + (3 if era is Era.LEGACY else 0)
    assert summary["http_status_counts"] == {"200": calls}
    assert (summary["error_rows"], summary["session_complete"]) == (0, True)
    assert summary["max_state_size"] == 4  # three values and the counter
    assert len(summary["unique_task_ids"]) == 1
    opened = [record for record in records if record.get("event") == "opened"]
    assert {record["mcp_session_id_by"] for record in opened} == {"client" if era is Era.MODERN else whose}


def test_slow_calls_and_streams(stateful: Server, tmp_path: Path) -> None:
    options = {"sessions": 2, "slow_every": 1, "slow_s": 0.2, "open_streams": True, "record_state": True}
    summary, records = probe(tmp_path, stateful.url, **options)
    assert summary["session_complete"]
    assert {call["progress"] for call in records if call.get("tool") == "slow"} == {10}
    events = [record["event"] for record in records if record["kind"] == "session"]
    assert (events.count("stream_opened"), events.count("closed")) == (2, 2)
    reads = [call for call in records if call.get("tool") == "get_session_state"]
    assert all(call["state"] == call["expected"] for call in reads)


def test_a_stateless_server_offers_no_stream(stateless: Server, tmp_path: Path) -> None:
    summary, records = probe(tmp_path, stateless.url, open_streams=True)
    assert summary["session_complete"]
    assert [r["http_status"] for r in records if r.get("event") == "stream_refused"] == [405]


def test_a_tool_of_the_users_choice(stateful: Server, tmp_path: Path) -> None:
    summary, records = probe(tmp_path, stateful.url, tool="whoami")
    assert summary["session_complete"]
    assert [call["tool"] for call in records if call["kind"] == "call"][1:3] == ["tools/list", "whoami"]


def test_memory_does_not_outlive_the_process(tmp_path: Path) -> None:
    """The server is killed once the session is warm, and another takes its port."""
    environment = {"MCP_STATELESS_HTTP": "false"}
    servers = [Server(environment)]

    def replace(progress: Progress) -> None:
        if progress.warmed_up and len(servers) == 1:
            servers[0].end()
            servers.append(Server(environment, servers[0].port))
        elif len(servers) == 2 and progress.failures > 3:
            os.kill(os.getpid(), signal.SIGINT)

    options = ProbeOptions(servers[0].url, delay_s=0.02)
    try:
        summary = run_probe(options, tmp_path / "history.jsonl", on_progress=replace)
    finally:
        for started in servers:
            started.end()
    assert summary["session_complete"] is False
    signatures = {record.get("signature") for record in read_history(tmp_path / "history.jsonl")}
    assert "404/-32600 Session not found" in signatures


def test_ctrl_c_once_finishes_and_twice_cuts_off(stateful: Server, tmp_path: Path) -> None:
    def interrupt(_progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    options = ProbeOptions(stateful.url, tool="slow", arguments={"seconds": 25}, delay_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        run_probe(options, tmp_path / "history.jsonl", on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_command_prints_its_summary(stateless: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--endpoint", stateless.url, "--calls", "2", "--delay", "0", "--history", str(tmp_path / "h.jsonl")]
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["http_status_counts"] == {"200": 5}


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [
        (["--endpoint", "nonsense"], (2, "hint: e.g. http")),
        (["--endpoint", "http://127.0.0.1:1/mcp", "--args", "{"], (2, "--args is not JSON")),
        (["--endpoint", "{url}", "--tool", "nope"], (2, "it has: ")),
        (["--endpoint", "{url}/nowhere"], (3, "is the path right?")),
    ],
)
def test_the_command_says_what_is_wrong(
    stateless: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], wrong: tuple[int, str]
) -> None:
    flags = [flag.replace("{url}", stateless.url) for flag in flags]
    code = main([*flags, "--history", str(tmp_path / "h.jsonl")])
    assert code == wrong[0]
    assert wrong[1] in capsys.readouterr().err
