"""The plan and the lock: whole, private, and given back by the dead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.orchestrator.balancers.control_server import check_socket_path
from rollproof.orchestrator.runtimes.launch_plan import ImageSpec
from rollproof.orchestrator.stage_files import (
    StageLock,
    StagePlan,
    balancer_socket,
    check_state_dir,
    control_socket,
    holder,
    is_held,
    read_plan,
    write_plan,
)

HOLDER = """
import sys
from pathlib import Path
from rollproof.orchestrator.stage_files import StageLock
with StageLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def plan(tmp_path: Path) -> StagePlan:
    (tmp_path / "stage").mkdir()
    images = {"app:1": ImageSpec(("python", "-m", "app"), tmp_path, {"A": "1"})}
    return StagePlan(
        tmp_path / "stage", tmp_path / "run", Settings(), Timing(), images, port=8080, redis_url="redis://:secret@host"
    )


class TestPlan:
    def test_is_read_as_it_was_written(self, plan: StagePlan) -> None:
        write_plan(plan)
        assert read_plan(plan.state_dir) == plan

    def test_is_for_its_owner_alone(self, plan: StagePlan) -> None:
        write_plan(plan)
        assert stat.S_IMODE((plan.state_dir / "plan.json").stat().st_mode) == 0o600

    def test_is_replaced_in_one_step(self, plan: StagePlan) -> None:
        write_plan(plan)
        write_plan(replace(plan, port=9090))
        found = read_plan(plan.state_dir)
        assert found is not None
        assert found.endpoint == "http://127.0.0.1:9090"
        assert [path.name for path in plan.state_dir.iterdir()] == ["plan.json"]

    def test_none_there(self, tmp_path: Path) -> None:
        assert read_plan(tmp_path / "absent") is None

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"state_dir": "x"}', "\x00\xff"])
    def test_of_another_version_is_refused_with_a_way_out(self, plan: StagePlan, text: str) -> None:
        (plan.state_dir / "plan.json").write_text(text)
        with pytest.raises(Permanent, match="not written by this version") as caught:
            read_plan(plan.state_dir)
        assert "rollproof down" in caught.value.hint


class TestStateDirectory:
    def test_one_that_leaves_room_for_its_sockets(self) -> None:
        state_dir = Path("/" + "d" * 85)
        check_state_dir(state_dir)
        check_socket_path(balancer_socket(state_dir))
        check_socket_path(control_socket(state_dir))

    def test_one_that_does_not(self) -> None:
        with pytest.raises(UsageError, match="has 87 bytes, at most 86") as caught:
            check_state_dir(Path("/" + "d" * 86))
        assert "--state-dir" in caught.value.hint


class TestLock:
    def test_is_held_and_given_back(self, tmp_path: Path) -> None:
        state_dir = tmp_path / "stage"
        assert not is_held(state_dir)
        with StageLock(state_dir):
            assert is_held(state_dir)
            assert holder(state_dir) == os.getpid()
        assert not is_held(state_dir)
        assert holder(state_dir) is None
        assert list(tmp_path.iterdir()) == []

    def test_names_who_has_it(self, tmp_path: Path) -> None:
        with (
            StageLock(tmp_path / "stage"),
            pytest.raises(UsageError, match=rf"\(pid {os.getpid()}\) runs the stage"),
            StageLock(tmp_path / "stage"),
        ):
            pass
        with StageLock(tmp_path / "stage"):
            pass

    def test_of_a_killed_process_is_free_at_once(self, tmp_path: Path) -> None:
        state_dir = tmp_path / "stage"
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            assert holder(state_dir) == other.pid
            other.kill()
        assert not is_held(state_dir)
        with StageLock(state_dir):
            assert holder(state_dir) == os.getpid()

    def test_is_not_taken_on_a_file_that_was_removed_meanwhile(self, tmp_path: Path) -> None:
        """Between our open and our lock its holder goes, and another comes: two must not hold it."""
        state_dir = tmp_path / "stage"
        first, second = StageLock(state_dir), StageLock(state_dir)
        with first:
            old = (tmp_path / "stage.lock").open("a+")
        with second, old:
            assert holder(state_dir) == os.getpid()
            with pytest.raises(UsageError), StageLock(state_dir):
                pass

    def test_a_place_where_none_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(Permanent, match="cannot keep a stage in"), StageLock(tmp_path / "file" / "stage"):
            pass
