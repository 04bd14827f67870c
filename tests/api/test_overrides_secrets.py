"""What a history may hold of a task's environment."""

from __future__ import annotations

import pytest

from rollproof.api.overrides import public


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DB_PASSWORD", "x"),
        ("API_KEY", "x"),
        ("key", "x"),
        ("GITHUB_TOKEN", "x"),
        ("CLIENT_SECRET", "x"),
        ("BROKER_URL", "redis://user:pw@host:6379/0"),
    ],
)
def test_a_secret_is_not_shown(name: str, text: str) -> None:
    assert public(name, text) == "(not shown)"


@pytest.mark.parametrize(
    ("name", "text"),
    [("KEEP_ALIVE_SECONDS", "75"), ("MONKEY", "x"), ("BROKER_URL", "redis://host:6379/0"), ("APP_VERSION", "v1")],
)
def test_a_plain_value_is(name: str, text: str) -> None:
    assert public(name, text) == text
