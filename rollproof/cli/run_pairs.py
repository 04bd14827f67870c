"""Runs found on disk, and which of two directories' runs belong together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.history import read_history
from rollproof.report.comparison_table import Pair
from rollproof.verdict import Verdict, judge
from rollproof.verdict.comparison import compare_runs
from rollproof.verdict.records import History, read

Key = tuple[str, str]
"""Strategy and disruption: which rehearsal a run was."""


@dataclass(frozen=True)
class Run:
    directory: Path
    history: History
    verdict: Verdict

    @property
    def key(self) -> Key:
        settings = self.history.settings
        return str(settings.get("strategy") or ""), str(settings.get("disruption_name") or self.verdict.disruption)

    @property
    def rehearsal(self) -> str:
        """`memory rolling`; the disruption alone where no strategy was asked for."""
        return " ".join(filter(None, self.key))


def is_run(path: Path) -> bool:
    return (path / "history.jsonl").is_file()


def load(directory: Path) -> Run:
    """Raises UsageError where its history is damaged."""
    try:
        records = list(read_history(directory / "history.jsonl"))
    except ValueError as error:
        raise UsageError(str(error), hint="the history is damaged there; mend or remove that line") from error
    return Run(directory, read(records), judge(records))


def runs_in(path: Path) -> list[Run]:
    """In order of their names, which begin with the time. Raises UsageError where there is none."""
    found = sorted(history.parent for history in path.glob("*/history.jsonl"))
    if not found:
        kind = "is a run, and the other is none" if is_run(path) else "is no run and holds none: no history.jsonl"
        raise UsageError(f"{path} {kind}", hint="two runs, or two directories of runs, as --runs DIR makes them")
    return [load(directory) for directory in found]


def pair(a: Run, b: Run) -> Pair:
    return Pair(a.rehearsal, compare_runs(a.history, a.verdict, b.history, b.verdict))


def paired(ours: Iterable[Run], theirs: Iterable[Run]) -> tuple[list[Pair], list[Run]]:
    """The first with the first of each rehearsal, the second with the second; and those left over."""
    waiting: dict[Key, list[Run]] = {}
    for run in theirs:
        waiting.setdefault(run.key, []).append(run)
    pairs, alone = list[Pair](), list[Run]()
    for run in ours:
        partners = waiting.get(run.key)
        if partners:
            pairs.append(pair(run, partners.pop(0)))
        else:
            alone.append(run)
    return pairs, alone + [run for runs in waiting.values() for run in runs]
