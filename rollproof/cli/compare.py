"""rollproof compare: do two runs, or two directories of runs, tell the same story?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rollproof.cli import options as o
from rollproof.cli.rehearse import EXIT
from rollproof.cli.run_pairs import Run, is_run, load, pair, paired, runs_in
from rollproof.cli.running import err, out, wide_out
from rollproof.core.errors import UsageError
from rollproof.report.comparison import comparison_json, render_comparison
from rollproof.report.comparison_table import Pair, pairs_json, pairs_markdown, pairs_outcome, render_pairs

EXAMPLES = """[bold]Examples[/]

rollproof compare runs/20260101T120000-sample-rolling runs/20260101T130000-sample-rolling

rollproof compare runs-local runs-docker                 two directories: equal rehearsals in pairs, as a table

rollproof compare runs-local runs-docker --markdown      the table for a document

rollproof compare RUN_A RUN_B --json

Exit codes: 0 the same story, 1 different, 2 usage, 3 nothing was proved: no task replaced, or a run without partner.
"""


def command(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run's directory, or a directory of runs.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="What it is compared with.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    as_json: o.Json = False,
) -> None:
    """Compare two runs of one rehearsal: verdict, order of events and states, offsets."""
    if is_run(run_a) and is_run(run_b):
        pairs, unpaired = [_one_pair(load(run_a), load(run_b))], list[Run]()
    else:
        pairs, unpaired = paired(runs_in(run_a), runs_in(run_b))
    for run in unpaired:
        err.print(f"no partner: {run.directory} ({run.rehearsal})", soft_wrap=True, markup=False)
    if not pairs:
        raise UsageError(f"no rehearsal is in both {run_a} and {run_b}", hint="pairs have one strategy and disruption")
    is_single = is_run(run_a)
    if as_json:
        facts = comparison_json(pairs[0].comparison) if is_single else pairs_json(pairs, _names(unpaired))
        out.print_json(json.dumps(facts, default=str))
    elif markdown:
        typer.echo(pairs_markdown(pairs), nl=False)
    elif is_single:
        render_comparison(pairs[0].comparison, console=wide_out(), names=(str(run_a), str(run_b)))
    else:
        render_pairs(pairs, _names(unpaired), console=wide_out())
    raise typer.Exit(EXIT[pairs_outcome(pairs, _names(unpaired))])


def _one_pair(a: Run, b: Run) -> Pair:
    """Any two strategies may be compared, but a crash has no step in common with a deployment."""
    if a.key[1] != b.key[1]:
        raise UsageError(
            f"{a.directory} rehearsed {a.key[1]}, {b.directory} {b.key[1]}", hint="compare runs of one --disruption"
        )
    return pair(a, b)


def _names(runs: list[Run]) -> list[str]:
    return [str(run.directory) for run in runs]
