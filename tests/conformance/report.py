"""What the suite's runs add up to: the table on the terminal, and `docs/conformance.md`. Pure."""

from __future__ import annotations

import re
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
    lines = [
        "# Conformance",
        "",
        "<!-- Written by tests/conformance/run.py from a run; change it there. -->",
        "",
        f"What the official suite (`{PACKAGE}`) finds at one FastMCP server, kept in different ways, through a strict "
        "round robin without stickiness: every request of a session reaches another replica than the one before. One "
        "replica alone is the measure. A setup that scores the same hides from its clients that there are two.",
        "",
        f"Run on {date} with `{command}`; {'with' if extras else 'without'} the extras (one key for `requestState` on "
        "all replicas, tasks in Redis), which is configuration that any server of several replicas needs.",
        "",
        "| setup | what it is | passed | failed | scenarios unlike one replica's | replicas replaced meanwhile |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row, outcome in zip(table(outcomes), outcomes, strict=True):
        name, passed, failed, differing, rolled = row
        lines.append(f"| `{name}` | {outcome.setup.summary} | {passed} | {failed} | {differing} | {rolled} |")
    lines += [
        "",
        "Counted are checks, of all scenarios of all protocol versions and extensions. Where the suite ran several "
        "times, each scenario counts as in its worst run.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        "## To repeat it",
        "",
        "    make conformance                     # installs the suite into .conformance/, takes about ten minutes",
        "    make conformance ARGS=--rollout      # and again while the replicas are replaced",
        '    make conformance ARGS="--setups one,resilient --scenarios server-sse-polling"',
    ]
    for outcome in outcomes:
        if outcome.score is not None:
            lines += _failures(outcome, baseline_of(outcomes))
    return "\n".join(lines) + "\n"


def _failures(outcome: Outcome, baseline: Score | None) -> list[str]:
    score = outcome.score
    assert score is not None
    known = {(failure.scenario, failure.check) for failure in baseline.failures} if baseline else set()
    shown: list[Failure] = list(score.failures)
    lines = ["", f"## Failures: {outcome.setup.summary}", ""]
    if baseline is not None and outcome.setup.name != BASELINE:
        shown = [failure for failure in shown if (failure.scenario, failure.check) not in known]
        lines += ["Besides those of one replica alone." if shown else "None but those of one replica alone."]
        fewer = [name for name in score.differing(baseline) if name not in {failure.scenario for failure in shown}]
        lines += [f"Scored otherwise, without another failure: {', '.join(fewer)}."] if fewer else []
        lines += [""] if shown else []
    lines += [f"- **{one.scenario}**, `{one.check}`: {_code(one.message)}" for one in shown]
    return lines


def _code(message: str) -> str:
    """Without ids, which are others in each run."""
    message = _IDS.sub("*", message)
    short = message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + " ..."
    return "``" + short.replace("``", "''") + "``"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
