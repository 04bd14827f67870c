"""The `docker` command for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IMAGE = "python:3.13-slim"


def docker(
    *arguments: str, check: bool = True, timeout: float = 120, environment: Mapping[str, str] | None = None
) -> str:
    """`docker ...`: its standard output. Fails the test with its error output."""
    done = run(*arguments, timeout=timeout, environment=environment)
    if check and done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def run(
    *arguments: str, timeout: float = 120, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )


def error() -> str:
    """Why there is no Engine to test against; "" if there is one."""
    try:
        asked = run("version", "--format", "{{.Server.Version}}", timeout=20)
    except (OSError, subprocess.TimeoutExpired) as failure:
        return str(failure)
    return "" if asked.returncode == 0 else asked.stderr.strip() or "docker version failed"


@dataclass(frozen=True)
class Network:
    """A network of its own for one test session; `gateway` is this machine in it."""

    project: str
    name: str
    gateway: str
    subnet: str
