"""Whole rehearsals in virtual time: AWS's own pace, the same history each time, any server."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollproof.core.errors import Permanent, UsageError
from rollproof.disruptions import Disruption
from rollproof.history import read_history
from rollproof.probe import ProbeOptions
from rollproof.rehearsal import Rehearsal, Rehearsed
from rollproof.sim_rehearsal import rehearse_in_process
from rollproof.subject import find_subject, with_strategy
from rollproof.verdict.model import Outcome

FEW = ProbeOptions("http://localhost/mcp", sessions=2, delay_s=10.0, slow_every=0)

TEN_LINES = """
from fastmcp import Context, FastMCP

mcp = FastMCP("theirs")
notes: dict[str, list[str]] = {}

@mcp.tool
def add_note(text: str, ctx: Context) -> list[str]:
    notes.setdefault(ctx.session_id, []).append(text)
    return notes[ctx.session_id]

@mcp.tool
async def list_notes(ctx: Context) -> list[str]:
    return notes.get(ctx.session_id, [])
"""


def of_sample(strategy: str, tmp_path: Path, **changes: Any) -> Rehearsal:
    subject = with_strategy(find_subject(), strategy)
    short = replace(subject.settings.target_group, deregistration_delay_s=changes.pop("delay_s", 300.0))
    subject = replace(subject, settings=replace(subject.settings, target_group=short))
    return replace(Rehearsal(subject, subject.settings, probe=FEW, runs_dir=tmp_path, strategy=strategy), **changes)


def digest(done: Rehearsed) -> str:
    return hashlib.sha256((done.run_dir / "history.jsonl").read_bytes()).hexdigest()


@pytest.mark.e2e
@pytest.mark.parametrize(("strategy", "outcome"), [("memory", Outcome.FAIL), ("stateless", Outcome.PASS)])
def test_three_hundred_seconds_of_draining_pass_in_a_moment(strategy: str, outcome: Outcome, tmp_path: Path) -> None:
    began = time.perf_counter()
    done = rehearse_in_process(of_sample(strategy, tmp_path))
    took_s = time.perf_counter() - began
    records = list(read_history(done.run_dir / "history.jsonl"))
    assert done.verdict.outcome is outcome
    assert records[-1]["t"] > 480
    assert took_s < 20
    draining = next(r["t"] for r in records if r["kind"] == "target" and r["state"] == "draining")
    unused = next(r["t"] for r in records if r["kind"] == "target" and r["state"] == "unused")
    assert unused - draining == pytest.approx(300, abs=0.01)


@pytest.mark.e2e
def test_a_hundred_runs_with_one_seed_are_one_history_and_another_seed_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(TEN_LINES)
    monkeypatch.chdir(tmp_path)
    subject = find_subject(app="theirs:mcp")
    group = replace(subject.settings.target_group, deregistration_delay_s=30.0)
    subject = replace(subject, settings=replace(subject.settings, target_group=group))
    rehearsal = Rehearsal(subject, subject.settings, probe=FEW, runs_dir=tmp_path / "runs")
    histories = {digest(rehearse_in_process(rehearsal)) for _ in range(100)}
    assert len(histories) == 1
    assert digest(rehearse_in_process(replace(rehearsal, seed=2))) not in histories


@pytest.mark.e2e
def test_another_program_with_another_order_of_its_sets_plays_the_same(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.sim.test_rehearsal import digest, of_sample\n"
        "from rollproof.sim_rehearsal import rehearse_in_process\n"
        "print(digest(rehearse_in_process(of_sample('stateless', Path(sys.argv[1]), delay_s=30.0))))\n"
    )
    root = Path(__file__).parents[2]
    told = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


@pytest.mark.e2e
def test_ten_lines_of_ones_own_lose_their_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(TEN_LINES)
    monkeypatch.chdir(tmp_path)
    subject = find_subject(app="theirs:mcp")
    done = rehearse_in_process(Rehearsal(subject, subject.settings, probe=FEW, runs_dir=tmp_path / "runs"))
    assert done.verdict.outcome is Outcome.FAIL
    assert {session.outcome.value for session in done.verdict.sessions} == {"lost"}
    assert "theirs" not in sys.modules


@pytest.mark.e2e
@pytest.mark.parametrize("disruption", [each for each in Disruption if each is not Disruption.NONE])
def test_every_disruption_is_played(disruption: Disruption, tmp_path: Path) -> None:
    done = rehearse_in_process(of_sample("stateless", tmp_path, delay_s=30.0, disruption=disruption))
    lost = disruption is Disruption.REDIS_RESTART
    assert done.verdict.outcome is (Outcome.FAIL if lost else Outcome.PASS)


@pytest.mark.e2e
def test_a_server_that_does_not_start_is_told_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text("raise RuntimeError('no database')\n")
    monkeypatch.chdir(tmp_path)
    subject = find_subject(app="theirs:mcp")
    with pytest.raises(Permanent, match="never became steady") as failed:
        rehearse_in_process(Rehearsal(subject, subject.settings, probe=FEW, runs_dir=tmp_path / "runs"))
    assert "no database" in failed.value.hint


def test_other_programs_are_refused_with_where_they_can_be_played(tmp_path: Path) -> None:
    subject = find_subject(command="node server.js")
    with pytest.raises(UsageError) as refused:
        rehearse_in_process(Rehearsal(subject, subject.settings, runs_dir=tmp_path))
    assert "--stage local" in refused.value.hint
    assert list(tmp_path.iterdir()) == []
