"""What tasks get in their environment that no template holds. On AWS it comes from Secrets Manager."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from rollproof.core.errors import Permanent
from rollproof.orchestrator.redis_server import RedisServer
from rollproof.orchestrator.stage_files import StagePlan

KEY_FILE = "request-state.key"
REQUEST_STATE_KEY = "MCP_REQUEST_STATE_KEY"


def task_secrets(plan: StagePlan, redis: RedisServer | None) -> dict[str, str]:
    """REDIS_URL and MCP_REQUEST_STATE_KEY, each where the tasks need it. Raises Permanent."""
    found = {} if redis is None else {"REDIS_URL": redis.url}
    if plan.needs_request_state_key:
        found[REQUEST_STATE_KEY] = _stable_key(plan.state_dir / KEY_FILE)
    return found


def _stable_key(path: Path) -> str:
    """The key of this stage, made once: an orchestrator that goes on after a kill gives new tasks the same."""
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as new:
                new.write(secrets.token_urlsafe(48))
        return path.read_text()
    except OSError as error:
        raise Permanent(f"cannot keep a key in {path}: {error.strerror}", hint="give another --state-dir") from error
