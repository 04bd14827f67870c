"""A load balancer node that learns of draining later than the others: what it goes on sending, and for how long."""

from __future__ import annotations

import pytest

from rollproof.core import events as e
from tests.core.test_service_rolling import steady


@pytest.mark.fidelity("ALB-DRAIN-12", source="LBC#2366", mark="inferred")
def test_a_node_that_lags_goes_on_sending_to_a_draining_target() -> None:
    play = steady(delay_s=300.0)
    play.tell(e.NodeLagChanged("node-1", 60.0)).update(desired_count=1)
    play.run_until(lambda world: any(x.draining_at is not None for x in world.targets.values())).run(20)
    assert play.table() == {"node-0": ["t1"], "node-1": ["t1", "t2"]}
    play.run(60)
    assert play.table() == {"node-0": ["t1"], "node-1": ["t1"]}


def test_a_node_that_catches_up_learns_at_once_and_no_lag_outlasts_the_delay() -> None:
    play = steady(delay_s=100.0)
    play.tell(e.NodeLagChanged("node-1", 1_000.0)).update(desired_count=1).run(100)
    assert play.table()["node-1"] == ["t1", "t2"]
    play.tell(e.NodeLagChanged("node-1", 0.0)).run(0)
    assert play.table()["node-1"] == ["t1"]
