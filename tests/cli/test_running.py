"""Which error of several is told."""

from __future__ import annotations

import pytest

from rollproof.cli.running import UNKNOWN, USAGE, most_telling, tell_error
from rollproof.core.errors import Permanent, Temporary, UsageError

OURS, OTHER = Permanent("the disk is full", hint="make room"), OSError("x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OURS, OURS),
        (OTHER, OTHER),
        (ExceptionGroup("", [OTHER, OURS]), OURS),
        (ExceptionGroup("", [OTHER, ExceptionGroup("", [ValueError(), OURS])]), OURS),
        (ExceptionGroup("", [OTHER, OTHER]), OTHER),
    ],
)
def test_of_a_group_the_deepest_error_of_ours_is_told(error: BaseException, told: BaseException) -> None:
    assert most_telling(error) is told


@pytest.mark.parametrize(("error", "code"), [(UsageError("u"), USAGE), (Temporary("t"), UNKNOWN), (OURS, UNKNOWN)])
def test_the_exit_code_is_the_errors(error: Exception, code: int) -> None:
    assert tell_error(ExceptionGroup("", [error])) == code
