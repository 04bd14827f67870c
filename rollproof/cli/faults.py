"""rollproof faults: what can go wrong in a rehearsal on purpose, and how it is said."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape
from rich.table import Table

from rollproof.cli import options as o
from rollproof.cli.running import out, print_table
from rollproof.sim.faults.catalogue import ALL
from rollproof.sim.faults.fault import Fault
from rollproof.sim.faults.moments import STATES, STEADY, WARMED_UP
from rollproof.sim.faults.victims import WORDS

EXAMPLES = """[bold]Examples[/]

rollproof faults                                         all of them, with their parameters

rollproof rehearse --stage sim --fault "hang at target draining + 3 s for 30 s"

rollproof rehearse --stage sim --disruption none --fault "redis-down forgets=yes at warmed-up + 10 s for 20 s"
"""

GRAMMAR = "NAME \\[of WHOM] \\[PARAMETER=VALUE ...] at MOMENT \\[for SECONDS | until MOMENT]"


def command(as_json: o.Json = False) -> None:
    """List the faults that a rehearsal can be given with --fault."""
    if as_json:
        out.print_json(json.dumps({"faults": [_facts(fault) for fault in ALL], "moments": _moments(), "whom": _whom()}))
        return
    out.print(f"[bold]--fault[/] '{GRAMMAR}'\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("fault", "hits", "stages", "what happens, its parameters, an example"):
        table.add_column(column, overflow="fold")
    for fault in ALL:
        lines = [fault.summary, *(_shown(row) for row in _parameters(fault)), f"[dim]{escape(fault.example)}[/]"]
        table.add_row(fault.name, fault.hits, ", ".join(sorted(fault.stages)), "\n".join(lines))
    print_table(table)
    out.print("\n[bold]MOMENT[/]  seconds are AWS's; `+ N s` goes with each, `- N s` only with `target unused`")
    for name, states in _moments().items():
        out.print(f"  {name}: {', '.join(states)}", soft_wrap=True)
    out.print("\n[bold]WHOM[/]  without it: the one that the moment is about, else the oldest task")
    for name, words in _whom().items():
        out.print(f"  a {name}: {', '.join(words)}", soft_wrap=True)


def _facts(fault: type[Fault]) -> dict[str, Any]:
    return {
        "name": fault.name,
        "summary": fault.summary,
        "hits": fault.hits,
        "can_end": fault.can_end,
        "stages": sorted(fault.stages),
        "parameters": _parameters(fault),
        "example": fault.example,
    }


def _parameters(fault: type[Fault]) -> list[dict[str, Any]]:
    return [{"name": x.name, "default": x.default, **x.metadata} for x in fault.parameters()]


def _shown(row: dict[str, Any]) -> str:
    default = {True: "yes", False: "no"}.get(row["default"], row["default"]) if row["unit"] == "" else row["default"]
    unit = f" {row['unit']}" if row["unit"] else ""
    return f"  {row['name']}={default}{unit}: {row['text']}"


def _moments() -> dict[str, list[str]]:
    return {
        "a time": ["120 s (of the history)"],
        "a mark": [WARMED_UP, STEADY],
        **{f"a state: {subject}": list(states) for subject, states in STATES.items()},
    }


def _whom() -> dict[str, list[str]]:
    ids = {"task": "the first digits of its id", "node": "node-1", "session": "s02"}
    return {hits.value: [*words, ids[hits.value]] for hits, words in WORDS.items()}
