"""The routing table survives the wire whole, and what is no table is refused."""

from __future__ import annotations

import json

import pytest

from rollproof.core.decide import routing_table
from rollproof.core.routing_table import RoutingTable
from rollproof.core.settings import Stickiness, StickinessType
from tests.core.test_service_rolling import steady


def test_table_survives_json() -> None:
    play = steady(nodes=2, slow_start_s=120.0, stickiness=Stickiness(True, StickinessType.APP_COOKIE, 60.0, "sid"))
    play.update(force_new_deployment=True).run(100)
    table = routing_table(play.world, play.now, 7)
    assert {x.state for node in table.nodes for x in node.targets} == {"healthy"}
    assert RoutingTable.from_json(json.loads(json.dumps(table.to_json()))) == table


@pytest.mark.parametrize("missing", ["nodes", "generation", "algorithm", "stickiness", "platform", "target_group_arn"])
def test_table_that_lacks_something_is_refused(missing: str) -> None:
    data = RoutingTable(1, ()).to_json()
    del data[missing]
    with pytest.raises(KeyError):
        RoutingTable.from_json(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [("algorithm", "dice"), ("generation", "x"), ("load_balancer", {"no_such": 1}), ("platform", {"routing": "magic"})],
)
def test_table_with_nonsense_is_refused(field: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        RoutingTable.from_json(RoutingTable(1, ()).to_json() | {field: value})
