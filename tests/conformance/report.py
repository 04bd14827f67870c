"""What the suite's runs add up to: the table on the terminal, and `docs/conformance.md`. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.conformance.setups import BASELINE, Setup
from tests.conformance.suite import PACKAGE, Failure, Score

_MESSAGE_LIMIT = 300
_IDS = re.compile(r"[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True)
class Outcome:
    """Of one setup. Without a score: `why` it was not run."""

    setup: Setup
    score: Score | None = None
    runs: int = 0
    replaced: int = 0
    why: str = ""


def baseline_of(outcomes: Sequence[Outcome]) -> Score | None:
    return next((outcome.score for outcome in outcomes if outcome.setup.name == BASELINE), None)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 where `resilient` scored as one replica alone does, 1 where it did not, 3 where that was not shown."""
    baseline = baseline_of(outcomes)
    scores = [outcome.score for outcome in outcomes if outcome.setup.sessions == "resilient"]
    if baseline is None or not scores or any(score is None for score in scores):
        return 3
    return int(any(score is not None and score.differing(baseline) for score in scores))


def table(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str, str, str]]:
    """Rows of: setup, passed, failed, scenarios that scored otherwise than the baseline, replicas replaced."""
    baseline = baseline_of(outcomes)
    rows = []
    for outcome in outcomes:
        if outcome.score is None:
            rows.append((outcome.setup.name, "-", "-", "-", f"not run: {outcome.why}"))
            continue
        score = outcome.score
        differing = "-" if baseline is None else str(len(score.differing(baseline)))
        rolled = f"{outcome.replaced} in {_count(outcome.runs, 'run')}" if outcome.setup.is_rolling else "-"
        rows.append((outcome.setup.name, str(score.passed), str(score.failed), differing, rolled))
    return rows


def terminal(outcomes: Sequence[Outcome]) -> str:
    head = ("setup", "passed", "failed", "unlike one", "replaced")
    rows = [head, *table(outcomes)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head) - 1)]
    return "\n".join(
        "  ".join((row[0].ljust(widths[0]), *(row[n].rjust(widths[n]) for n in range(1, len(widths))), row[-1]))
        for row in rows
    )


def page(outcomes: Sequence[Outcome], versions: Mapping[str, str], command: str, date: str, extras: bool) -> str:
    """`docs/conformance.md`."""
    rows = zip(table(outcomes), outcomes, strict=True)
    parts = [
        "# Conformance",
        "<!-- Written by tests/conformance/run.py from a run; change it there. -->",
        _prose(
            f"What the official suite (`{PACKAGE}`) finds at one FastMCP server, kept in different ways, through a "
            "strict round robin without stickiness: each request reaches another replica than the one before. One "
            "replica alone is the measure: a setup that scores the same hides from its clients that there are two."
        ),
        _prose(
            f"Run on {date} with `{command}`, {'with' if extras else 'without'} the extras: one key for `requestState` "
            "on all replicas, and tasks in Redis. They are configuration that any server of several replicas needs."
        ),
        "\n".join(
            [
                "| setup | what it is | passed | failed | scenarios unlike one replica's | replaced meanwhile |",
                "|---|---|---:|---:|---:|---|",
                *(f"| `{row[0]}` | {outcome.setup.summary} | {' | '.join(row[1:])} |" for row, outcome in rows),
            ]
        ),
        _prose(
            "Counted are checks, of the scenarios of all protocol versions and extensions. Where the suite ran several "
            "times, each scenario counts as in its worst run."
        ),
        _prose("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."),
        "## To repeat it",
        "    make conformance                     # installs the suite into .conformance/; about five minutes\n"
        "    make conformance ARGS=--rollout      # and again while the replicas are replaced\n"
        '    make conformance ARGS="--setups one,resilient --scenarios server-sse-polling"',
        *(part for outcome in outcomes for part in _failures(outcome, baseline_of(outcomes))),
    ]
    return "\n\n".join(parts) + "\n"


def _failures(outcome: Outcome, baseline: Score | None) -> list[str]:
    score = outcome.score
    if score is None:
        return []
    parts = [f"## Failures: {outcome.setup.summary}"]
    shown: list[Failure] = list(score.failures)
    if baseline is not None and outcome.setup.name != BASELINE:
        known = {(failure.scenario, failure.check) for failure in baseline.failures}
        shown = [failure for failure in shown if (failure.scenario, failure.check) not in known]
        parts.append("Besides those of one replica alone." if shown else "None but those of one replica alone.")
        named = {failure.scenario for failure in shown}
        fewer = [name for name in score.differing(baseline) if name not in named]
        parts += [_prose(f"Scored otherwise, without another failure: {', '.join(fewer)}.")] if fewer else []
    return [*parts, "\n".join(_by_message(shown))] if shown else parts


def _by_message(failures: Sequence[Failure]) -> list[str]:
    """One list item a message, with the scenarios and checks that failed with it."""
    found: dict[str, list[str]] = {}
    for failure in failures:
        found.setdefault(_code(failure.message), []).append(f"{failure.scenario} (`{failure.check}`)")
    return [f"- {message}\n{_prose(', '.join(names), indent='  ')}" for message, names in found.items()]


def _prose(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, 120, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _code(message: str) -> str:
    """Without ids, which are others in each run."""
    message = _IDS.sub("*", message)
    short = message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + " ..."
    return "``" + short.replace("``", "''") + "``"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
