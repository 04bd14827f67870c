"""Flags that say how the clients of a probe behave; ProbeOptions.validate has their ranges."""

from __future__ import annotations

from typing import Annotated

import typer

from rollproof.cli.options import are_given
from rollproof.probe import Activity, CookieMode, Era, Increments, SessionIds

CLIENTS = "The clients"

Sessions = Annotated[int, typer.Option("--sessions", help="Clients at once.", rich_help_panel=CLIENTS)]
Delay = Annotated[
    float, typer.Option("--delay", help="Real seconds between two calls of a session.", rich_help_panel=CLIENTS)
]
EraOption = Annotated[Era, typer.Option("--era", help="Protocol the clients speak.", rich_help_panel=CLIENTS)]
Cookies = Annotated[
    CookieMode, typer.Option("--cookies", help="What clients do with Set-Cookie.", rich_help_panel=CLIENTS)
]
Ids = Annotated[
    SessionIds,
    typer.Option(
        "--session-ids",
        help="Whose Mcp-Session-Id the calls carry, or a handle as an argument.",
        rich_help_panel=CLIENTS,
    ),
]
Reinitialise = Annotated[
    bool,
    typer.Option(
        "--reinitialise/--no-reinitialise",
        help="Clients begin anew on 404, as the specification asks.",
        rich_help_panel=CLIENTS,
    ),
]
Retries = Annotated[
    int, typer.Option("--retries", help="A failed operation is repeated so often.", rich_help_panel=CLIENTS)
]
Replay = Annotated[
    bool,
    typer.Option(
        "--replay/--no-replay", help="A session that began anew does again all it had done.", rich_help_panel=CLIENTS
    ),
]
IncrementsOption = Annotated[
    Increments,
    typer.Option("--increments", help="Clients also count: is anything applied twice?", rich_help_panel=CLIENTS),
]
SlowEvery = Annotated[
    int,
    typer.Option(
        "--slow-every", help="Every Nth session keeps a slow call in flight. 0: none.", rich_help_panel=CLIENTS
    ),
]
Slow = Annotated[float, typer.Option("--slow", help="Seconds such a call lasts.", rich_help_panel=CLIENTS)]
Streams = Annotated[
    bool, typer.Option("--streams/--no-streams", help="Each session opens its GET stream.", rich_help_panel=CLIENTS)
]
ClientsOf = Annotated[
    str,
    typer.Option("--strategy", metavar="NAME", help="Clients as this strategy has them.", rich_help_panel=CLIENTS),
]
ActivitiesOption = Annotated[
    str,
    typer.Option(
        "--activities",
        metavar="all|NAME,...",
        help=f"One of these after each operation: {', '.join(Activity)}.",
        rich_help_panel=CLIENTS,
    ),
]
McpPath = Annotated[str, typer.Option("--path", help="Of the MCP endpoint.", rich_help_panel=CLIENTS)]

_FIELDS = {"delay": "delay_s", "streams": "open_streams"}


def given(context: typer.Context) -> frozenset[str]:
    """The fields of ProbeOptions whose flags were given: a strategy's own clients do not change those."""
    return frozenset(_FIELDS.get(name, name) for name in context.params if are_given(context, name))
