"""The strategies: each is one the sample server understands, and each has its overlay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rollproof.strategies import STRATEGIES, Strategy
from rollproof.subject import find_subject, with_strategy
from server.settings import Settings

COMPOSE = Path(__file__).parents[1] / "compose"
EACH = [pytest.param(strategy, id=strategy.name) for strategy in STRATEGIES.values()]


@pytest.mark.parametrize("strategy", EACH)
def test_the_server_starts_with_what_a_strategy_sets(strategy: Strategy) -> None:
    subject = with_strategy(find_subject(), strategy.name)
    environment = {**subject.settings.task_definition.environment}
    if subject.needs_redis:
        environment["REDIS_URL"] = "redis://redis"
    settings = Settings.from_environment(environment)
    assert (settings.redis_url is not None) is strategy.uses_redis
    assert subject.needs_request_state_key is strategy.shares_request_state


@pytest.mark.parametrize("strategy", EACH)
def test_a_strategys_overlay_sets_it_and_says_how_it_is_used(strategy: Strategy) -> None:
    overlay = COMPOSE / f"{strategy.name}.yml"
    text = overlay.read_text()
    assert f"-f compose/{overlay.name} up -d --wait" in text.splitlines()[1]
    assert yaml.safe_load(text) == {
        "services": {"orchestrator": {"environment": {"ROLLPROOF_STRATEGY": strategy.name}}}
    }


def test_no_secret_is_part_of_a_strategy() -> None:
    assert not [name for each in STRATEGIES.values() for name in each.environment if name.endswith(("_KEY", "_URL"))]
