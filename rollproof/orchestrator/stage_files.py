"""What a local stage keeps in its directory besides its parts' own files: the plan it was opened with, and the lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
from pydantic import TypeAdapter, ValidationError

from rollproof.core.errors import Permanent, UsageError
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec


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
    redis_url: str = ""

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"


PLAN: TypeAdapter[StagePlan] = TypeAdapter(StagePlan)


def write_plan(plan: StagePlan) -> None:
    path = plan.state_dir / "plan.json"
    path.touch(mode=0o600)
    path.write_bytes(PLAN.dump_json(plan))


def read_plan(state_dir: Path) -> StagePlan | None:
    """The plan of the stage in `state_dir`; None if there is none."""
    try:
        return PLAN.validate_json((state_dir / "plan.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise Permanent(
            f"{state_dir / 'plan.json'} was not written by this version of rollproof",
            hint="rollproof down, or move the directory away",
        ) from error


class StageLock:
    """The right to orchestrate in `state_dir`. Raises UsageError, naming who has it."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir.with_name(f"{state_dir.name}.lock")
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise UsageError(
                f"another rollproof (pid {holder or 'unknown'}) runs the stage in {self._path.with_suffix('')}",
                hint="use it (rollproof status, rollproof deploy), end it (rollproof down), or give --state-dir",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()


def holder(state_dir: Path) -> int | None:
    """Pid of the orchestrator that runs the stage, None if none does."""
    try:
        pid = int(state_dir.with_name(f"{state_dir.name}.lock").read_text())
    except (OSError, ValueError):
        return None
    return pid if psutil.pid_exists(pid) else None
