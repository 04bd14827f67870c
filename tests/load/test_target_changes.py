"""Targets change under load: every request is answered, and none by a target that was not allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.load import subjects
from tests.load.changes import Outcome, change_targets, many_targets
from tests.orchestrator.test_nginx_balancer import NEEDS_NGINX

CHANGES = 500
REQUESTS = 10_000

pytestmark = pytest.mark.load


def assert_all_obeyed(outcome: Outcome) -> None:
    assert outcome.changes >= CHANGES
    assert outcome.requests >= REQUESTS
    assert (outcome.failed, outcome.misrouted) == (0, 0)
    # what a change needs is a few milliseconds; a data plane that looked for changes now and then would need more
    assert sorted(outcome.changed_s)[CHANGES // 2] < 0.1


async def test_the_embedded_balancer_obeys_each_change_at_once(tmp_path: Path) -> None:
    async with many_targets() as addresses, subjects.embedded(tmp_path) as running:
        assert_all_obeyed(
            await change_targets(running.client, running.port, addresses, changes=CHANGES, requests=REQUESTS)
        )


@NEEDS_NGINX
@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "undeclared"])
async def test_nginx_obeys_each_change_at_once(tmp_path: Path, is_declared: bool) -> None:
    """Whether or not it knows the targets' addresses in advance."""
    async with (
        many_targets() as addresses,
        subjects.nginx(tmp_path, list(addresses.values()) if is_declared else []) as running,
    ):
        assert_all_obeyed(
            await change_targets(running.client, running.port, addresses, changes=CHANGES, requests=REQUESTS)
        )
