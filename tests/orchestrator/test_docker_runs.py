"""A rehearsal's part of what the docker stage keeps for many."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollproof.orchestrator.docker_runs import begin_of, copy_log_part, make_run


def test_a_run_has_its_part_of_the_access_log(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"before\nmine 1\nmine 2\nafter\n")
    run = make_run(tmp_path / "runs", "sample-rolling", offset=7)
    copy_log_part(log, begin_of(run), 21, run)
    assert (run / "access.log").read_bytes() == b"mine 1\nmine 2\n"


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_log_that_is_gone_or_another_is_no_error(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "access.log"
    if content is not None:
        log.write_bytes(content)
    copy_log_part(log, 7, 21, tmp_path)
