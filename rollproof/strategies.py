"""Session strategies of the sample server: where a session lives, and what its clients do for it.

One entry is a setting of the server (environment on top of what the templates say) and the client that goes with
it. They are what `--strategy` names, the overlays in compose/ set, and `rollproof matrix` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollproof.core.errors import UsageError


@dataclass(frozen=True)
class Strategy:
    """`environment` of the sample server; `probe` the options of ProbeOptions that its clients have unless a flag says
    otherwise; `expected` the verdict of a rolling deployment: survived, degraded or lost."""

    name: str
    summary: str
    environment: Mapping[str, str]
    expected: str
    uses_redis: bool = True
    probe: Mapping[str, Any] = field(default_factory=dict)


_STATEFUL = {"MCP_STATELESS_HTTP": "false"}
_STATELESS = {"MCP_STATELESS_HTTP": "true"}

STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("memory", "transport and state in a task's memory", _STATEFUL, "lost", uses_redis=False),
        Strategy("redis-state", "the tools' state in Redis, the transport in a task's memory", _STATEFUL, "lost"),
        Strategy("stateless", "stateless HTTP, state in Redis, session ids made by the client", _STATELESS, "survived"),
    )
}


def find_strategy(name: str) -> Strategy:
    """Raises UsageError, naming those that there are."""
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy {name!r}", hint=f"one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]
