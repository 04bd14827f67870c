"""A run's report files, beside its history."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rollproof.core.errors import Permanent
from rollproof.history import Record
from rollproof.report.junit import render_junit
from rollproof.report.summary import summary_json
from rollproof.verdict import Verdict, judge


def write_reports(run_dir: Path, records: Iterable[Record]) -> Verdict:
    """Judge `records` and write summary.json and junit.xml into `run_dir`; gives the verdict for printing.

    Raises Permanent when a file cannot be written; the history itself is untouched.
    """
    verdict = judge(records)
    summary = json.dumps(summary_json(verdict), indent=2, ensure_ascii=False, default=str)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "summary.json").write_text(summary + "\n", encoding="utf-8")
        (run_dir / "junit.xml").write_text(render_junit(verdict), encoding="utf-8")
    except OSError as error:
        raise Permanent(
            f"cannot write the reports of {run_dir}: {error}",
            hint="the history is whole; free the place or the permission and judge it again",
        ) from error
    return verdict
