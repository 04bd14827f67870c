"""The same rehearsal in virtual time and in real time is one story: equal verdicts, equal orders of events.

tests/e2e/docker compares both with the docker stage. ROLLPROOF_ALIKE=all takes every strategy through every disruption
(more than an hour); the outcomes of all, on all stages, stand in docs/matrix and are compared by test_matrix_stages.py.
"""

from __future__ import annotations

import os

import pytest

from rollproof.disruptions import Disruption
from rollproof.strategies import STRATEGIES
from tests.e2e.place import FEW, Place

ALIKE = ("--set", "deregistration_delay_s=60", "--set", "health_check_grace_period_s=600")
"""A grace period that is as long in both: at speed 20 none is shorter than 600 AWS seconds (core/timing.py)."""

COMPARED = [x for x in Disruption if x not in (Disruption.REDIS_RESTART, Disruption.NONE)]
"""The other two replace nothing: they have no order of events."""

ALL = [(name, disruption.value) for name in STRATEGIES for disruption in COMPARED]
SOME = [
    ("memory", "rolling"),
    ("stateless", "crash"),
]


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("strategy", "disruption"), ALL if os.environ.get("ROLLPROOF_ALIKE") == "all" else SOME)
def test_virtual_and_real_time_tell_the_same_story(strategy: str, disruption: str, place: Place) -> None:
    what = ("--strategy", strategy, "--disruption", disruption, *ALIKE)
    local = place.run("rehearse", "--speed", "20", *FEW, *what)
    virtual = place.run("rehearse", "--stage", "sim", "--sessions", "8", "--delay", "4", "--slow", "1", *what)
    assert local.run_dir is not None, local.err
    assert virtual.run_dir is not None, virtual.err
    assert virtual.exit_code == local.exit_code
    compared = place.run("compare", str(local.run_dir), str(virtual.run_dir))
    assert compared.exit_code == 0, compared.out
    assert compared.out.rstrip().endswith("same story")
