"""Strategies bring their clients, and a flag wins over them."""

from __future__ import annotations

import pytest

from rollproof.core.errors import UsageError
from rollproof.probe import CookieMode, Era, ProbeOptions, SessionIds
from rollproof.strategies import STRATEGIES, Strategy, clients_of, fails_at_once

PLAIN = ProbeOptions("http://127.0.0.1/mcp", sessions=4, open_streams=True)
MODERN = Strategy("new", "", {}, "survived", probe={"era": "modern", "cookies": "none", "retries": 2})


def test_clients_are_as_the_strategy_has_them() -> None:
    found = MODERN.clients(PLAIN)
    assert (found.era, found.cookies, found.retries) == (Era.MODERN, CookieMode.NONE, 2)
    assert (found.sessions, found.session_ids) == (4, SessionIds.AUTO)


def test_what_was_asked_for_stays() -> None:
    found = MODERN.clients(PLAIN, {"era", "retries"})
    assert (found.era, found.retries, found.cookies) == (Era.LEGACY, 0, CookieMode.NONE)


def test_modern_clients_open_no_stream_unless_asked_to() -> None:
    assert not MODERN.clients(PLAIN).open_streams
    assert MODERN.clients(PLAIN, {"open_streams"}).open_streams
    assert MODERN.clients(PLAIN, {"era"}).open_streams


def test_without_a_strategy_nothing_changes() -> None:
    assert clients_of(PLAIN, "") is PLAIN
    assert not fails_at_once("")
    with pytest.raises(UsageError, match="unknown strategy"):
        clients_of(PLAIN, "hope")


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_the_clients_of_every_strategy_are_possible(strategy: Strategy) -> None:
    strategy.clients(PLAIN).validate()
    assert strategy.expected in ("survived", "degraded", "lost")
    assert fails_at_once(strategy.name) == (strategy.expected == "lost")
