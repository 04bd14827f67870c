"""What tasks get that no template holds."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rollproof.core.errors import Permanent
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.orchestrator.redis_server import RedisServer
from rollproof.orchestrator.stage_files import StagePlan
from rollproof.orchestrator.task_secrets import KEY_FILE, REQUEST_STATE_KEY, task_secrets


def plan(state_dir: Path, *, needs_key: bool = True) -> StagePlan:
    return StagePlan(state_dir, state_dir, Settings(), Timing(), {}, needs_request_state_key=needs_key)


def test_the_key_is_the_stages_own_and_stays_the_same_for_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    key = task_secrets(plan(one), None)[REQUEST_STATE_KEY]
    assert len(key.encode()) >= 32
    assert task_secrets(plan(one), None) == {REQUEST_STATE_KEY: key}
    assert task_secrets(plan(other), None)[REQUEST_STATE_KEY] != key
    assert stat.S_IMODE((one / KEY_FILE).stat().st_mode) == 0o600


def test_tasks_get_only_what_they_need(tmp_path: Path) -> None:
    redis = RedisServer("redis://:secret@127.0.0.1:1", "given")
    assert task_secrets(plan(tmp_path, needs_key=False), None) == {}
    assert task_secrets(plan(tmp_path, needs_key=False), redis) == {"REDIS_URL": redis.url}
    assert not (tmp_path / KEY_FILE).exists()
    assert task_secrets(plan(tmp_path), redis).keys() == {"REDIS_URL", REQUEST_STATE_KEY}


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"cannot keep a key in .*request-state\.key"):
        task_secrets(plan(tmp_path / "nowhere"), None)
