"""What a call of `rollout` may say."""

from __future__ import annotations

from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.disruptions import Disruption
from rollproof.probe import Activity, CookieMode, Era
from rollproof.testing.rollouts.arguments import pairs, read_arguments


def test_knobs_clients_and_the_rehearsal_are_told_apart() -> None:
    asked = read_arguments(
        {
            "app": "my_server:mcp", "desired_count": 2, "sticky_overrides_drain": True, "drain_propagation_s": 4,
            "sessions": 8, "delay_s": 2, "cookies": "none", "era": "both", "streams": False, "write": "add",
            "activities": ["roots", "progress"], "disruption": "crash", "env": {"DEBUG": True}, "templates": "ecs.yaml",
        }
    )  # fmt: skip
    assert asked.knobs == {"desired_count": 2, "sticky_overrides_drain": True, "drain_propagation_s": 4}
    assert asked.probe == {
        "sessions": 8, "delay_s": 2.0, "cookies": CookieMode.NONE, "era": Era.BOTH, "open_streams": False,
        "write_tool": "add", "activities": (Activity.ROOTS, Activity.PROGRESS),
    }  # fmt: skip
    assert (asked.app, asked.disruption, asked.env, asked.templates) == (
        "my_server:mcp", Disruption.CRASH, {"DEBUG": "true"}, ("ecs.yaml",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"desired_cuont": 2}, "rollout() has no argument 'desired_cuont'", "did you mean desired_count"),
        ({"sesions": 2}, "rollout() has no argument 'sesions'", "did you mean sessions?"),
        ({"cookies": "some"}, "cookies is 'some'", "one of full, first, none"),
        ({"disruption": "flood"}, "disruption is 'flood'", "one of rolling"),
        ({"stage": "moon"}, "there is no stage 'moon'", "one of sim, local, docker"),
        ({"sessions": "four"}, "sessions is 'four'", "it must be of type int"),
        ({"seed": "one"}, "seed is 'one', and no number", ""),
        ({"faults": ["hang at noon"]}, "", ""),
        ({"faults": [7]}, "faults has 7", "lines like"),
        ({"env": ["A=1"]}, "env is ['A=1']", "a dictionary"),
    ],
)
def test_what_means_nothing_is_refused_with_the_nearest_that_does(
    given: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        read_arguments(given)
    assert refused.value.message.startswith(message)
    assert hint in refused.value.hint


def test_pairs_are_name_and_value() -> None:
    assert pairs(["A = 1", "B=x=y"], "rollproof_set") == {"A": "1", "B": "x=y"}
    with pytest.raises(UsageError, match="rollproof_set: 'A' is not NAME=VALUE"):
        pairs(["A"], "rollproof_set")
