"""Random rollouts hold the laws; a bug planted in the core is found by them, and printed as a test that shows it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollproof.core import commands as c
from rollproof.core import events as e
from rollproof.core.settings import CircuitBreaker, ThresholdType
from rollproof.sim.heap import steps as s
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.world import HeapWorld
from tests.core.rollouts import OUT_OF_BALANCE, Rollout, batches, play_many, play_steps, random_rollout
from tests.core.shrink import failure_of, pasteable, python_of, shrink
from tests.core.test_mutants import MUTANTS, mutated


def test_sixty_random_rollouts_obey_the_laws() -> None:
    found = play_many(range(1, 61))
    assert found.failing == ()
    assert found.count == 60
    assert len(found.kinds) > 15


@pytest.mark.e2e
def test_thousands_of_random_rollouts_obey_the_laws() -> None:
    assert [x for batch in batches(500_000, 3_000, os.cpu_count() or 1) for x in batch.failing] == []


# --- what is passed over ------------------------------------------------------------------------------------------

PASSED_OVER = (c.CheckHealth, c.ScheduleTick, e.HealthCheckAnswered)


def told(rollout: Rollout, *, skips_idle: bool) -> list[Any]:
    """Everything that happened, and when, but for what may be passed over."""
    found: list[Any] = []
    heap = play_steps(
        rollout, skips_idle=skips_idle, and_check=lambda b, happened, a, now: found.append((now, happened))
    )
    heap.update(force_new_deployment=True).run(2_000)
    for step in OUT_OF_BALANCE:
        step.do(heap)
    heap.run(1_000)
    return [(now, x) for now, x in found if not isinstance(x, PASSED_OVER)]


@pytest.mark.parametrize("seed", [1, 4, 5, 9])
def test_what_is_passed_over_changes_nothing(seed: int) -> None:
    rollout = random_rollout(seed)
    assert told(rollout, skips_idle=True) == told(rollout, skips_idle=False)


@pytest.mark.e2e
def test_what_is_passed_over_changes_nothing_in_many() -> None:
    for seed in range(1_000, 1_120):
        rollout = random_rollout(seed)
        assert told(rollout, skips_idle=True) == told(rollout, skips_idle=False), seed


# --- a planted bug ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "law"),
    [
        ("floor_off_by_one", "floor_holds"),
        ("drain_sigterm_does_not_wait_for_the_target", "drain_comes_first"),
        pytest.param("ceiling_off_by_one", "ceiling_holds", marks=pytest.mark.e2e),
        pytest.param("deployment_retired_while_its_tasks_drain", "nothing_is_orphaned", marks=pytest.mark.e2e),
    ],
)
def test_planted_bug_is_found_and_printed_as_a_test_that_fails_until_it_is_mended(
    planted: str, law: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mutant = MUTANTS[planted]
    monkeypatch.setattr(mutant.function, "__code__", mutated(mutant).__code__)
    seed = next(x for x in range(1, 1_000) if breaks(random_rollout(x), law))
    small = shrink(random_rollout(seed))
    text = pasteable(small, seed)
    assert len(small.steps) <= 2, text
    pasted = pasted_test(text, seed, tmp_path)
    with pytest.raises(AssertionError):
        pasted()
    monkeypatch.undo()
    pasted()


def breaks(rollout: Rollout, law: str) -> bool:
    found = failure_of(rollout)
    return found is not None and found[0][1] == law


def pasted_test(text: str, seed: int, directory: Path) -> Callable[[], None]:
    """The test in `text`, from a file of its own, as whoever pastes it has it."""
    path = directory / "test_pasted.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("test_pasted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[], None] = getattr(module, f"test_rollout_{seed}")
    return found


@pytest.mark.e2e
def test_pasted_test_is_one_for_pytest_and_the_command_prints_it(tmp_path: Path) -> None:
    """A rollout that no core holds: what the command says of it runs under pytest as it is, and fails there."""
    bad = Rollout(steps=(s.Deploy(Behaviour(health_status=None)), s.Wait(9.0)), desired=1, percents=(100, 100))
    path = tmp_path / "test_pasted.py"
    path.write_text(pasteable(bad, 7), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(path)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    line = [sys.executable, "-m", "tests.core.rollouts", "--count", "40", "--seed", "9", "--jobs", "2"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, "seeds 9 to 48" in done.stdout) == (0, True), done.stdout + done.stderr


def test_rollout_is_printed_as_the_python_that_makes_it() -> None:
    names = {x.__name__: x for x in (Rollout, Behaviour, CircuitBreaker, ThresholdType)}
    names |= {x: getattr(s, x) for x in dir(s) if isinstance(getattr(s, x), type)}
    names["math"] = __import__("math")
    for seed in range(1, 60):
        rollout = random_rollout(seed)
        assert eval(python_of(rollout), dict(names)) == rollout


def test_shrinking_what_does_not_fail_is_refused() -> None:
    with pytest.raises(ValueError, match="breaks no law"):
        shrink(Rollout())


def test_condition_that_never_comes_is_told_with_the_events() -> None:
    with pytest.raises(AssertionError, match=r"not within 30.0 s:\n.*has started 2 tasks"):
        HeapWorld().run_until(lambda world: False, at_most_s=30.0)
