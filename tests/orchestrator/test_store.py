"""The state file: whole or not at all, and only ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rollproof.core.errors import Permanent, Temporary
from rollproof.orchestrator.ports import Store
from rollproof.orchestrator.store import FORMAT, JsonFileStore
from rollproof.testing.fakes import MemoryStore

STATE = {"tasks": [{"id": "a", "known": "RUNNING"}], "now": 12.5, "none": None}


@pytest.fixture(params=["file", "durable file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return JsonFileStore(tmp_path / "run" / "state.json", durable=request.param == "durable file")


class TestAnyStore:
    def test_nothing_saved_is_none(self, store: Store) -> None:
        assert store.load() is None

    def test_the_last_save_is_loaded(self, store: Store) -> None:
        store.save({"old": 1})
        store.save(STATE)
        assert store.load() == STATE

    def test_what_is_loaded_is_a_copy(self, store: Store) -> None:
        store.save(STATE)
        loaded = store.load()
        assert loaded is not None
        loaded["tasks"].clear()
        assert store.load() == STATE

    def test_what_is_not_json_is_refused_and_the_last_save_stands(self, store: Store) -> None:
        store.save(STATE)
        with pytest.raises(TypeError):
            store.save({"a": object()})
        assert store.load() == STATE


class TestJsonFileStore:
    def test_another_store_reads_what_this_one_wrote(self, tmp_path: Path) -> None:
        JsonFileStore(tmp_path / "state.json").save(STATE)
        assert JsonFileStore(tmp_path / "state.json").load() == STATE
        assert os.listdir(tmp_path) == ["state.json"]

    def test_a_draft_of_a_killed_writer_does_no_harm(self, tmp_path: Path) -> None:
        store = JsonFileStore(tmp_path / "state.json")
        store.save(STATE)
        (tmp_path / ".state.json.12345").write_text('{"half')
        assert store.load() == STATE

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("", "torn or not JSON"),
            ('{"format": "rollproof-state", "vers', "torn or not JSON"),
            ("[]", "not written by rollproof"),
            ('{"tasks": []}', "not written by rollproof"),
            (json.dumps({"format": FORMAT, "version": 99, "state": {}}), "format version 99, this rollproof reads 1"),
            (json.dumps({"format": FORMAT, "version": 1}), "it holds no state"),
        ],
    )
    def test_a_torn_or_foreign_file_is_named_and_what_to_do(self, tmp_path: Path, content: str, why: str) -> None:
        path = tmp_path / "state.json"
        path.write_text(content)
        with pytest.raises(Permanent, match=why) as caught:
            JsonFileStore(path).load()
        assert str(path) in caught.value.message
        assert "move the file away" in caught.value.hint
        assert path.read_text() == content

    def test_a_binary_file_is_foreign(self, tmp_path: Path) -> None:
        (tmp_path / "state.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(Permanent):
            JsonFileStore(tmp_path / "state.json").load()

    def test_a_directory_in_the_way_fails_the_save_and_leaves_no_draft(self, tmp_path: Path) -> None:
        (tmp_path / "state.json" / "sub").mkdir(parents=True)
        with pytest.raises(Temporary, match="cannot save"):
            JsonFileStore(tmp_path / "state.json").save(STATE)
        assert os.listdir(tmp_path) == ["state.json"]
