"""Runs client/node. What it needs may be missing on a developer's machine; in CI it may not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2] / "client" / "node"
LEAST_VERSION = 20
DEADLINE_S = 60.0


def node(*, packages: bool = False) -> str:
    """The Node to use; `packages` where the SDK's are needed too. Else skips, and fails where they are required."""
    found = shutil.which("node")
    lacking = ""
    if found is None:
        lacking = "no node on PATH"
    elif (version := _version(found)) < LEAST_VERSION:
        lacking = f"node is {version}, older than {LEAST_VERSION}"
    elif packages and not (HOME / "node_modules" / "@modelcontextprotocol" / "sdk").is_dir():
        lacking = "client/node has no packages: run `npm ci` there"
    if not lacking:
        return str(found)
    if os.environ.get("ROLLPROOF_NODE") == "required" or os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(lacking)
    pytest.skip(lacking)


def _version(found: str) -> int:
    said = subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


@dataclass(frozen=True)
class ProbeRun:
    """What the probe printed. `summary` is its last line."""

    exit_code: int
    records: list[dict[str, Any]]
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        last = self.records[-1]
        assert last["kind"] == "summary", last
        return last

    def calls(self, **wanted: Any) -> list[dict[str, Any]]:
        found = [record for record in self.records if record["kind"] == "call"]
        return [call for call in found if all(call.get(name) == value for name, value in wanted.items())]


def command(endpoint: str, *flags: str) -> list[str]:
    return [node(packages=True), str(HOME / "probe.mjs"), "--endpoint", endpoint, *flags]


def probe(endpoint: str, *flags: str) -> ProbeRun:
    """A whole run of probe.mjs against `endpoint`: of a local stage (`rollproof up`), or of anything else."""
    done = subprocess.run(command(endpoint, *flags), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return ProbeRun(done.returncode, _records(done.stdout), done.stderr)


class RunningProbe:
    """One with `--calls 0`. `records` are those it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self._process, self._directory = process, directory

    @property
    def records(self) -> list[dict[str, Any]]:
        return _records((self._directory / "out").read_text())

    def interrupt(self) -> ProbeRun:
        """Ctrl-C, and its end."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(DEADLINE_S)
        return ProbeRun(self._process.returncode, self.records, (self._directory / "err").read_text())


@contextmanager
def running_probe(endpoint: str, *flags: str) -> Iterator[RunningProbe]:
    """It is ended here if it still runs."""
    with tempfile.TemporaryDirectory(prefix="rp-") as made:
        directory = Path(made)
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            process = subprocess.Popen(command(endpoint, "--calls", "0", *flags), stdout=out, stderr=err)
        try:
            yield RunningProbe(process, directory)
        finally:
            process.kill()
            process.wait()


def _records(text: str) -> list[dict[str, Any]]:
    """The whole lines."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
