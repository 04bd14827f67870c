"""A place of its own for the command line under test: directories, environment, and who is still there afterwards.

Real processes and real time: everything waits on a condition with a generous deadline.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rollproof.history import Record, read_history

DEADLINE_S = 90.0
LOOK_S = 0.05
OWN_SERVER = Path(__file__).with_name("own_server")
TINY = shlex.join([sys.executable, str(OWN_SERVER / "tiny_mcp.py")])

FAST = ("--speed", "20", "--set", "deregistration_delay_s=60")
QUICK = ("--speed", "50", "--set", "deregistration_delay_s=150")  # for a server that starts at once
PATIENT = ("--set", "health_check_grace_period_s=400")  # 20 s of a busy machine's time for the sample to start
FEW = ("--sessions", "8", "--delay", "0.4", "--slow", "1")


def wait_until(condition: Callable[[], Any], what: str, within_s: float = DEADLINE_S) -> Any:
    """What `condition` gives, once that is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what}"
        time.sleep(LOOK_S)
    return found


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str
    run_dir: Path | None

    @property
    def summary(self) -> dict[str, Any]:
        assert self.run_dir is not None, self.err
        found: dict[str, Any] = json.loads((self.run_dir / "summary.json").read_text())
        return found

    def records(self, kind: str = "", **wanted: Any) -> list[Record]:
        assert self.run_dir is not None, self.err
        return find(self.run_dir, kind, **wanted)

    def finding(self, identifier: str) -> str:
        return next(str(x["text"]) for x in self.summary["findings"] if x["id"] == identifier)


def find(run_dir: Path, kind: str = "", **wanted: Any) -> list[Record]:
    """The history's records of this kind and with these values, in order."""
    return [
        record
        for record in read_history(run_dir / "history.jsonl")
        if (not kind or record["kind"] == kind) and all(record.get(k) == v for k, v in wanted.items())
    ]


class Running:
    """A command that runs, its output in files."""

    def __init__(self, place: Place, process: subprocess.Popen[bytes], runs: Path, stem: Path) -> None:
        self.place, self.process, self.runs, self._stem = place, process, runs, stem

    @property
    def out(self) -> str:
        return self._stem.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        return self._stem.with_suffix(".err").read_text()

    def run_dir(self) -> Path | None:
        return next((path.parent for path in self.runs.glob("*/history.jsonl")), None)

    def wait_said(self, text: str) -> None:
        """Until it has said this, on either stream."""

        def has_said() -> bool:
            if text in self.out + self.err:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {text!r}:\n{self.err}"
            return False

        wait_until(has_said, f"{text!r}, it said:\n{self.err}")

    def wait_record(self, kind: str, **wanted: Any) -> Record:
        """The first such record of its history."""

        def found() -> Record | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {wanted}:\n{self.err}"
            run_dir = self.run_dir()
            return next(iter(find(run_dir, kind, **wanted)), None) if run_dir else None

        record: Record = wait_until(found, f"{kind} {wanted}")
        return record

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, within_s: float = DEADLINE_S) -> Done:
        """Its end, which is to come by itself."""
        self.process.wait(within_s)
        return Done(self.process.returncode, self.out, self.err, self.run_dir())


@dataclass
class Place:
    """`tmp` is every temporary file's directory; `state` that of the stage that stays up. Short: sockets are in it."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rp-", dir="/tmp")))
    started: int = 0

    def __post_init__(self) -> None:
        self.tmp, self.work, self.state = self.root / "t", self.root / "w", self.root / "s"
        self.tmp.mkdir()
        self.work.mkdir()
        shutil.copy(OWN_SERVER / "my_server.py", self.work)  # as a user's directory has it
        ports = f"rollproof-ports-{os.getuid()}"  # one pool for all: no two tests may use the same port
        shared = Path(tempfile.gettempdir()) / ports
        shared.mkdir(mode=0o700, exist_ok=True)
        (self.tmp / ports).symlink_to(shared)

    def start(self, *arguments: str, **env: str) -> Running:
        self.started += 1
        runs, stem = self.root / f"runs{self.started}", self.root / f"said{self.started}"
        command = [sys.executable, "-m", "rollproof", *arguments]
        if arguments[0] in ("rehearse", "up"):
            command += ["--runs", str(runs)]
        if arguments[0] in ("up", "deploy", "status", "stop-task", "down"):
            command += ["--state-dir", str(self.state)]
        with stem.with_suffix(".out").open("wb") as out, stem.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.work, env=self._env(env)
            )
        return Running(self, process, runs, stem)

    def run(self, *arguments: str, **env: str) -> Done:
        running = self.start(*arguments, **env)
        try:
            return running.end()
        finally:
            running.process.kill()
            running.process.wait()

    def processes(self) -> list[psutil.Process]:
        """All that belong here: by their command line, their environment or their directory."""
        return [process for process in psutil.process_iter() if _is_of(process, str(self.root))]

    def left_files(self) -> list[str]:
        return sorted(path.name for path in self.tmp.iterdir() if not path.is_symlink())

    def assert_nothing_left(self) -> None:
        wait_until(lambda: not self.processes(), f"the end of {self.processes()}", within_s=3.0)
        assert self.left_files() == []
        assert not self.state.exists()

    def clear(self) -> None:
        """End whatever a failed test has left, and remove all files."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def _env(self, extra: dict[str, str]) -> dict[str, str]:
        hidden = {"REDIS_URL", "ROLLPROOF_STATE_DIR", "FORCE_COLOR", "COLUMNS"}
        return {k: v for k, v in os.environ.items() if k not in hidden} | {"TMPDIR": str(self.tmp)} | extra


def _is_of(process: psutil.Process, root: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        texts = [*process.cmdline(), *process.environ().values(), process.cwd()]
    except (psutil.Error, OSError):
        return False
    return any(root in text for text in texts)


@contextmanager
def a_place() -> Iterator[Place]:
    """Nothing may be left in it at the end."""
    place = Place()
    try:
        yield place
        place.assert_nothing_left()
    finally:
        place.clear()
