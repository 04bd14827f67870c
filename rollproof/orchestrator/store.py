"""The orchestrator's memory on disk: the whole world in one JSON file, replaced in one step.

A reader, or a restarted orchestrator, sees the old world or the new one, never half of one: the new file is
written beside the old and renamed over it (POSIX rename). `durable=True` also waits for the disk, so that it
survives a power cut and not only a `kill -9`; that costs milliseconds a save.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, Temporary

FORMAT = "rollproof-state"
VERSION = 1


class JsonFileStore:
    """A `Store` in one file. One writer at a time."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self._path = path
        self._durable = durable

    def save(self, state: Mapping[str, Any]) -> None:
        """Raises Temporary if the disk refuses; the last saved state then stands. TypeError if it is not JSON."""
        text = json.dumps({"format": FORMAT, "version": VERSION, "state": state}, separators=(",", ":"))
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(draft, text)
            draft.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise Temporary(
                f"cannot save the orchestrator's state to {self._path}: {error}",
                hint="free some space or give a directory that can be written",
            ) from error

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None if there is none. Raises Permanent if the file is not one of ours."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error
        try:
            envelope = json.loads(text)
        except json.JSONDecodeError as error:
            raise self._unusable(f"torn or not JSON ({error})") from error
        if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
            raise self._unusable("not written by rollproof")
        if envelope.get("version") != VERSION:
            raise self._unusable(f"format version {envelope.get('version')!r}, this rollproof reads {VERSION}")
        state = envelope.get("state")
        if not isinstance(state, dict):
            raise self._unusable("it holds no state")
        return state

    def _write(self, draft: Path, text: str) -> None:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())

    def _unusable(self, why: str) -> Permanent:
        return Permanent(
            f"cannot read the orchestrator's state in {self._path}: {why}",
            hint="move the file away to start afresh; tasks that still run are then stopped by `rollproof down`",
        )
