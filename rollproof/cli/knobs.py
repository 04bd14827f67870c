"""rollproof knobs: everything that can be set, and where its value comes from."""

from __future__ import annotations

import json
from dataclasses import fields

from rich.table import Table

from rollproof.api.knobs import KNOBS, setting_rows
from rollproof.cli import options as o
from rollproof.cli.running import out, print_table
from rollproof.core.timing import Timing

EXAMPLES = """[bold]Examples[/]

rollproof knobs                                        the sample's, as its templates set them

rollproof knobs --template infra/ecs.yaml --parameter DesiredCount=4
"""


def command(
    app: o.App = "",
    command_: o.Command = "",
    template: o.Template = None,
    parameter: o.Parameter = None,
    set_: o.Set = None,
    config: o.ConfigFile = None,
    as_json: o.Json = False,
) -> None:
    """List all knobs with value, source and range."""
    chosen = o.choose(app=app, command=command_, template=template, parameter=parameter, sets=set_, config_file=config)
    values = {row.name: row for row in setting_rows(chosen.subject.settings, chosen.template)}
    rows = [(knob.name, values[knob.path].value, knob.allowed, values[knob.path].source, knob.doc) for knob in KNOBS]
    rows += [
        (
            x.name,
            getattr(chosen.timing, x.name),
            "0 or more s",
            f"{x.metadata['mark']}: {x.metadata['source']}",
            "timing",
        )
        for x in fields(Timing)
    ]
    names = ("name", "value", "allowed", "source", "doc")
    if as_json:
        out.print_json(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("knob", "value", "allowed", "source"):
        table.add_column(column, overflow="fold")
    for name, value, allowed, source, _ in rows:
        table.add_row(name, _shown(value), allowed, source)
    print_table(table)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
