"""Session strategies of the sample server: where a session lives, and what its clients do for it.

One entry is a setting of the server (environment on top of what the templates say) and the client that goes with
it. They are what `--strategy` names, the overlays in compose/ set, and `rollproof matrix` compares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.probe import Era, ProbeOptions


@dataclass(frozen=True)
class Strategy:
    """`environment` of the sample server; `probe` the options of ProbeOptions that its clients have unless a flag says
    otherwise; `expected` the verdict of a rolling deployment: survived, degraded or lost. With `shares_request_state`
    all tasks have one MCP_REQUEST_STATE_KEY, made for the stage; without, each makes its own."""

    name: str
    summary: str
    environment: Mapping[str, str]
    expected: str
    uses_redis: bool = True
    shares_request_state: bool = False
    probe: Mapping[str, Any] = field(default_factory=dict)

    def clients(self, options: ProbeOptions, given: Collection[str] = ()) -> ProbeOptions:
        """`options` as its clients have them. `given`: fields that were asked for, which stay as they are.

        Modern clients open no stream, unless that was asked for.
        """
        wanted = {name: value for name, value in self.probe.items() if name not in given}
        found = replace(options, **{name: _as_its_kind(options, name, value) for name, value in wanted.items()})
        is_modern = found.era is Era.MODERN and "open_streams" not in given
        return replace(found, open_streams=False) if is_modern else found


_STATEFUL = {"MCP_STATELESS_HTTP": "false"}
_STATELESS = {"MCP_STATELESS_HTTP": "true"}
_PERSISTENT = {"reinitialise": True, "retries": 3, "replay": True, "increments": "keyed"}

STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("memory", "transport and state in a task's memory", _STATEFUL, "lost", uses_redis=False),
        Strategy("redis-state", "the tools' state in Redis, the transport in a task's memory", _STATEFUL, "lost"),
        Strategy("stateless", "stateless HTTP, state in Redis, session ids made by the client", _STATELESS, "survived"),
        Strategy(
            "stateless-minted",
            "the same, with an id minted for clients that send none",
            {**_STATELESS, "MCP_MINT_SESSION_ID": "true"},
            "survived",
            probe={"session_ids": "server"},
        ),
        Strategy(
            "durable",
            "mcp-persist: sessions recorded in Redis and adopted by any task; not what was under way",
            {**_STATEFUL, "MCP_SESSIONS": "durable"},
            "survived",
        ),
        Strategy(
            "idempotent",
            "sessions in a task's memory, idempotent tools, clients that begin anew and repeat all they had done",
            _STATEFUL,
            "degraded",
            uses_redis=False,
            probe=_PERSISTENT,
        ),
        Strategy(
            "modern-default",
            "2026-07-28 clients, state under ctx.session_id as it is: another one with every call",
            {**_STATELESS, "MCP_REQUIRE_SESSION_ID": "false"},
            "lost",
            probe={"era": "modern", "session_ids": "server"},
        ),
        Strategy(
            "modern-handles",
            "2026-07-28 clients, session handles in Redis, one requestState key for all tasks",
            _STATELESS,
            "survived",
            shares_request_state=True,
            probe={"era": "modern", "session_ids": "handle"},
        ),
        Strategy(
            "resilient",
            "rollproof.sessions: any task serves any session, in both eras at once, without stickiness",
            {**_STATEFUL, "MCP_SESSIONS": "resilient"},
            "survived",
            shares_request_state=True,
            probe={"era": "both", "cookies": "none"},
        ),
    )
}


def find_strategy(name: str) -> Strategy:
    """Raises UsageError, naming those that there are."""
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy {name!r}", hint=f"one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def clients_of(options: ProbeOptions, name: str, given: Collection[str] = ()) -> ProbeOptions:
    """`options` as the clients of this strategy have them; unchanged without one. `given`: see Strategy.clients."""
    return find_strategy(name).clients(options, given) if name else options


def fails_at_once(name: str) -> bool:
    """Whether its sessions may fail before anything is done to the service: there is no warming up to wait for."""
    return bool(name) and find_strategy(name).expected == "lost"


def _as_its_kind(options: ProbeOptions, field: str, value: Any) -> Any:
    kind = type(getattr(options, field))
    return kind(value) if issubclass(kind, StrEnum) else value
