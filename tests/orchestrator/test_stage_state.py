"""What an orchestrator leaves to the next one: the world, the time, and what it owed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import Permanent
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.world import create_world
from rollproof.history import HistoryFile, HistoryList, read_history
from rollproof.orchestrator.clock import StageClock
from rollproof.orchestrator.publishing import TablePublisher
from rollproof.orchestrator.stage_state import StageState
from rollproof.testing.fakes import FakeBalancer


@pytest.fixture
def state() -> StageState:
    return StageState(create_world(Settings(), Timing(), 1, 0.0), StageClock(), generation=7, cuts=("10.0.0.1:8000",))


def saved(state: StageState) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(state.to_json()))
    return found


class TestAdoption:
    def test_the_world_and_what_was_owed_are_the_same(self, state: StageState) -> None:
        adopted = StageState.adopt(saved(state))
        assert adopted.world == state.world
        assert adopted.cuts == state.cuts
        assert adopted.is_adopted

    async def test_its_tables_are_newer_than_any_that_were_not_saved(self, state: StageState) -> None:
        """Killed between publishing and saving, the first orchestrator was generations ahead of what it had saved."""
        balancer, history = FakeBalancer(), HistoryList(StageClock())
        kept = saved(state)
        first = TablePublisher(balancer, history, state.generation, ())
        for seconds in range(5):
            first.refresh_later()
            world = replace(state.world, settings=Settings(target_group=replace_delay(seconds)))
            await first.publish(world, 0.0)
        adopted = StageState.adopt(kept)
        second = TablePublisher(balancer, history, adopted.generation, adopted.cuts)
        await second.publish(adopted.world, 0.0)
        assert balancer.table.generation == second.generation
        assert balancer.cuts == ["10.0.0.1:8000"]

    @pytest.mark.parametrize("torn", ["world", "clock", "generation", "cuts"])
    def test_another_versions_state_is_refused_with_a_way_out(self, state: StageState, torn: str) -> None:
        for wrong in ({k: v for k, v in saved(state).items() if k != torn}, saved(state) | {torn: None}):
            with pytest.raises(Permanent, match="another version of rollproof") as caught:
                StageState.adopt(wrong)
            assert "rollproof down" in caught.value.hint


def replace_delay(seconds: int) -> Any:
    group = Settings().target_group
    return replace(group, slow_start_s=30.0 + seconds)


class TestClock:
    def test_time_goes_on_where_it_was(self) -> None:
        clock = StageClock(origin=time.monotonic() - 100.0)
        again = StageClock.from_json(clock.to_json())
        assert again.started_at == clock.started_at
        assert again.now() == pytest.approx(clock.now(), abs=0.5)

    def test_after_a_restart_of_the_machine_the_systems_time_tells(self) -> None:
        """The monotonic clock has begun anew, so that the origin lies ahead of it."""
        origin = time.monotonic() + 50_000.0
        data = {"started_at": time.time() - 600.0, "origin": origin, "now": 500.0}
        assert StageClock.from_json(data).now() == pytest.approx(600.0, abs=1.0)

    def test_time_never_goes_back(self) -> None:
        """Not even where the system's time was set back meanwhile."""
        data = {"started_at": time.time() + 1_000.0, "origin": time.monotonic() + 50_000.0, "now": 500.0}
        assert StageClock.from_json(data).now() >= 500.0


class TestTornHistory:
    """A writer was killed in the middle of a line."""

    @pytest.mark.parametrize("torn", ["", '{"t":1.0,"kind":"ca', '{"t":1.0,"kind":"' + "x" * 200_000])
    def test_the_next_writer_begins_on_a_line_of_its_own(self, tmp_path: Path, torn: str) -> None:
        path = tmp_path / "history.jsonl"
        whole = '{"t":0.5,"kind":"mark","name":"whole"}\n'
        path.write_text(whole + torn)
        history = HistoryFile(path, StageClock())
        history.record("mark", name="next")
        history.close()
        assert [record["name"] for record in read_history(path)] == ["whole", "next"]

    def test_nothing_but_a_torn_line(self, tmp_path: Path) -> None:
        path = tmp_path / "history.jsonl"
        path.write_text('{"t":0.5')
        history = HistoryFile(path, StageClock())
        history.record("mark", name="next")
        history.close()
        assert [record["name"] for record in read_history(path)] == ["next"]
