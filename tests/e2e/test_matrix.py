"""A matrix of real rehearsals: two strategies, two disruptions; and what Ctrl-C leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from rollproof.matrix import Fate, load_matrix
from tests.e2e.place import Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SMALL = ("--set", "deregistration_delay_s=80", "--set", "health_check_grace_period_s=800", "--sessions", "6",
         "--delay", "0.3", "--slow", "0.5", "--measure", "1.5", "--activities", "progress",
         "--speed", "40")  # fmt: skip
CELLS = ("--strategies", "memory,stateless", "--disruptions", "rolling,redis-restart")


def test_two_by_two_and_a_ctrl_c_between(place: Place) -> None:
    running = place.start("matrix", *CELLS, *SMALL, "--runs", str(place.root / "m"))
    running.wait_said("cell 3 of 4: stateless rolling")
    running.signal(signal.SIGINT)
    stopped = running.end()
    assert stopped.exit_code == 130, stopped.err
    (directory,) = (place.root / "m").iterdir()
    assert f"rollproof matrix --resume {directory}" in stopped.err.replace("\n", "")
    kept = load_matrix(directory)
    assert [x.fate for x in kept.cells] == [Fate.LOST, Fate.NOT_APPLICABLE]
    place.assert_nothing_left()

    done = place.run("matrix", "--resume", str(directory), "--json")
    made = load_matrix(directory)
    assert done.exit_code == made.exit_code == 0, done.out + done.err
    assert json.loads(done.out) == json.loads((directory / "matrix.json").read_text())
    assert [x.fate for x in made.cells] == [Fate.LOST, Fate.NOT_APPLICABLE, Fate.SURVIVED, Fate.LOST]
    assert made.cells[0] == kept.cells[0]
    _check_failures(place.root, directory)


def _check_failures(root: Path, directory: Path) -> None:
    memory, _, stateless, restarted = load_matrix(directory).cells
    assert memory.first_failure is not None
    assert memory.first_failure.signature == "404/-32600 Session not found"
    assert "began draining" in memory.first_failure.cause
    assert memory.costs is not None
    assert memory.costs.redis_commands is None
    assert stateless.costs is not None
    assert stateless.costs.redis_commands is not None
    assert 1 <= stateless.costs.redis_commands < 50
    assert 0 < stateless.costs.latency_median_ms <= stateless.costs.latency_p95_ms
    assert restarted.first_failure is not None
    assert restarted.first_failure.cause.startswith("Redis was restarted at")
    assert restarted.outage.endswith("keys it held are lost (append-only: no)")
    assert restarted.costs is None
    for found in (memory, stateless, restarted):
        assert (directory / found.run / "history.jsonl").is_file()
