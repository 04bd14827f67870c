"""A Compose project of a test's own, and the command line on this machine that acts on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollproof.history import Record, read_history
from tests.e2e.docker.engine import ROOT, docker, run

DEADLINE_S = 150.0
PATIENT = "health_check_grace_period_s=400"  # 40 s of a busy machine for a container of a quarter of a CPU to start
QUICK = ("--sessions", "6", "--delay", "0.5", "--slow", "1")


@dataclass
class Compose:
    """A project beside whatever else runs on this machine. `runs` is where the host's command puts them."""

    project: str
    files: tuple[str, ...]
    runs: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
        files = [word for name in self.files for word in ("--file", name)]
        return run("compose", *files, *arguments, timeout=timeout, environment=self.environment)

    def done(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr[-3000:] + self("logs", "--tail", "30").stdout[-6000:]
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`rollproof ... --stage docker` on this machine; its standard error is for whoever reads it."""
        command = [sys.executable, "-m", "rollproof", *arguments, "--stage", "docker"]
        if arguments[0] == "rehearse":
            command += ["--runs", str(self.runs)]
        environment = {k: v for k, v in os.environ.items() if k != "REDIS_URL"} | self.environment
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=ROOT, env=environment,
        )  # fmt: skip

    def rollproof(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=280)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def rehearse(self, *arguments: str) -> Rehearsed:
        done = self.rollproof("rehearse", *QUICK, "--json", *arguments)
        return Rehearsed.of(done.returncode, done.stdout, done.stderr)

    def ask(self, *arguments: str) -> Any:
        done = self.rollproof(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def left(self) -> list[str]:
        """Everything of the project that the Engine still has."""
        label = f"label=com.docker.compose.project={self.project}"
        return [
            *docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split(),
            *docker("network", "ls", "--format", "{{.Name}}", "--filter", label).split(),
            *docker("volume", "ls", "--format", "{{.Name}}", "--filter", label).split(),
        ]


@dataclass(frozen=True)
class Rehearsed:
    """Exit code, summary, and the run as it was fetched."""

    code: int
    summary: dict[str, Any]
    err: str

    @classmethod
    def of(cls, code: int, out: str, err: str) -> Rehearsed:
        assert out, err[-3000:]
        return cls(code, json.loads(out), err)

    @property
    def run_dir(self) -> Path:
        return Path(self.summary["run_dir"])

    @property
    def findings(self) -> set[str]:
        return {finding["id"] for finding in self.summary["findings"]}

    def records(self, kind: str, **wanted: Any) -> list[Record]:
        return [
            record
            for record in read_history(self.run_dir / "history.jsonl")
            if record["kind"] == kind and all(record.get(name) == value for name, value in wanted.items())
        ]


@contextmanager
def project(runs: Path, subnet: str, **environment: str) -> Iterator[Compose]:
    """Up, with nginx; with ROLLPROOF_TEST_BALANCER=embedded, with the embedded balancer. Nothing is left of it."""
    is_embedded = os.environ.get("ROLLPROOF_TEST_BALANCER") == "embedded"
    files = ("docker-compose.yml", *(["compose/embedded-balancer.yml"] if is_embedded else []))
    name = f"rollproof-test-{uuid.uuid4().hex[:6]}"
    compose = Compose(name, files, runs, {
        "COMPOSE_PROJECT_NAME": name,
        "NGINX_VERSION": os.environ.get("NGINX_VERSION") or nginx_here() or "1.30",
        "ROLLPROOF_PORT": "0",
        "ROLLPROOF_SPEED": "10",
        "ROLLPROOF_SET": PATIENT,
        "ROLLPROOF_SUBNET": f"{subnet}.0/24",
        "ROLLPROOF_IP_RANGE": f"{subnet}.0/26",
        **environment,
    })  # fmt: skip
    try:
        compose.done("--profile", "client", "build")
        compose.done("up", "--detach", "--wait")
        yield compose
    finally:
        compose("--profile", "*", "down", "--volumes", "--remove-orphans")
        left = compose.left()
    assert left == []


def nginx_here() -> str:
    """The version of an official image that is here already: a machine may have no registry."""
    tags = docker("images", "nginx", "--format", "{{.Tag}}").split()
    return max((tag for tag in tags if tag.replace(".", "").isdigit()), default="")


def wait_until(condition: Callable[[], Any], what: str) -> None:
    give_up_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"
        time.sleep(0.1)
