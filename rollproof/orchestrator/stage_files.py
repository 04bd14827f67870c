"""What a local stage keeps in its directory besides its parts' own files: the plan it was opened with, and the lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from rollproof.core.errors import Permanent, UsageError
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.orchestrator.balancers.control_server import SOCKET_PATH_MAX
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec

PLAN_FILE = "plan.json"


class BalancerKind(StrEnum):
    """Who plays the ALB's data plane."""

    EMBEDDED = "embedded"
    NGINX = "nginx"


@dataclass(frozen=True)
class StagePlan:
    """What a stage is opened with. Settings and timing as AWS has them; `speed` divides them here."""

    state_dir: Path
    run_dir: Path
    settings: Settings
    timing: Timing
    images: Mapping[str, ImageSpec]
    speed: float = 1.0
    seed: int = 1
    host: str = "127.0.0.1"
    port: int = 0  # of the load balancer; 0: a free one
    needs_redis: bool = True
    needs_request_state_key: bool = False  # MCP_REQUEST_STATE_KEY, one for all tasks of the stage
    redis_url: str = ""
    balancer: BalancerKind = BalancerKind.EMBEDDED  # of the local stage; Compose has its own

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"


PLAN: TypeAdapter[StagePlan] = TypeAdapter(StagePlan)


def balancer_socket(state_dir: Path) -> Path:
    return state_dir / "balancer.sock"


def control_socket(state_dir: Path) -> Path:
    return state_dir / "control.sock"


def redis_dir(state_dir: Path) -> Path:
    return state_dir / "redis"


def runtime_dir(state_dir: Path) -> Path:
    return state_dir / "runtime"


def tasks_dir(state_dir: Path) -> Path:
    """The process runtime's task directories (runtimes/task_directory.py)."""
    return runtime_dir(state_dir) / "tasks"


def store_file(state_dir: Path) -> Path:
    return state_dir / "store.json"


def check_state_dir(state_dir: Path) -> None:
    """Raises UsageError where unix sockets in it could not be reached: their paths are limited."""
    most = SOCKET_PATH_MAX - max(len(path(Path()).name) + 1 for path in (balancer_socket, control_socket))
    size = len(os.fsencode(state_dir))
    if size > most:
        raise UsageError(
            f"the path of the state directory has {size} bytes, at most {most} leave room for its sockets: {state_dir}",
            hint="give a shorter one with --state-dir; of a rehearsal, with the environment variable TMPDIR",
        )


def write_plan(plan: StagePlan) -> None:
    """Whole or not at all, and for its owner's eyes only: it may hold the URL of a Redis."""
    path = plan.state_dir / PLAN_FILE
    draft = path.with_name(f".{PLAN_FILE}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(PLAN.dump_json(plan))
    draft.replace(path)


def read_plan(state_dir: Path) -> StagePlan | None:
    """The plan of the stage in `state_dir`; None if there is none. Raises Permanent for one that cannot be read."""
    path = state_dir / PLAN_FILE
    try:
        return PLAN.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Permanent(f"cannot read {path}: {error.strerror}", hint="give another --state-dir") from error
    except ValidationError as error:
        raise Permanent(
            f"{path} was not written by this version of rollproof",
            hint="end that stage with `rollproof down`, or give another --state-dir",
        ) from error


class StageLock:
    """The right to orchestrate in `state_dir`, given back by the kernel when its holder dies.

    Entering raises UsageError, naming who has it, or Permanent where no lock can be made.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._path = _lock_file(state_dir)
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        while self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = self._path.open("a+")
            except OSError as error:
                raise Permanent(
                    f"cannot keep a stage in {self._state_dir}: {error.strerror}", hint="give another --state-dir"
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                raise UsageError(
                    f"another rollproof (pid {holder(self._state_dir) or 'unknown'}) runs the stage in "
                    f"{self._state_dir}",
                    hint="use it (rollproof status, rollproof deploy), end it (rollproof down), or give --state-dir",
                ) from error
            if _is_at(self._path, file):
                self._file = file
            else:  # its last holder removed it between our open and our lock
                file.close()
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def is_held(state_dir: Path) -> bool:
    """Whether an orchestrator runs the stage: the kernel's word, whatever the file says."""
    try:
        with _lock_file(state_dir).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(state_dir: Path) -> int | None:
    """Pid of the orchestrator that runs the stage, None if none does."""
    try:
        return int(_lock_file(state_dir).read_text()) if is_held(state_dir) else None
    except (OSError, ValueError):
        return None


def _lock_file(state_dir: Path) -> Path:
    return state_dir.with_name(f"{state_dir.name}.lock")


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
