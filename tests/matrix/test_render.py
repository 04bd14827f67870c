"""The matrix as it is printed: a terminal, a pipe, Markdown."""

from __future__ import annotations

import doctest
import io

from rich.console import Console

from rollproof.matrix import Matrix, markdown
from rollproof.matrix.markdown import matrix_markdown
from rollproof.matrix.model import ActivityResult
from rollproof.matrix.terminal import render_matrix
from rollproof.matrix.words import conclusion
from rollproof.verdict.model import ActivityState
from tests.matrix.samples import as_expected, cell, failed, lost, matrix

PLAIN = """\
local, 3 sessions, speed 20, deregistration_delay_s=30
strategy   rolling                      redis-restart
memory     lost 2/3                     not applicable
stateless  survived 3/3, breaks resume  lost 2/3

memory rolling: lost 2/3; 9 of 30 calls failed
  s3 get_session_state, 5.2 s after it: target 127.0.0.1:4001 began draining at t=18.3 s; 0.5 s later it failed with \
404/-32600 Session not found

stateless rolling: survived 3/3
  resume 1/4 well; 405 Method Not Allowed. another replica

stateless redis-restart: lost 2/3; 9 of 30 calls failed
  s3 get_session_state, 5.2 s after it: target 127.0.0.1:4001 began draining at t=18.3 s; 0.5 s later it failed with \
404/-32600 Session not found
  Redis was away for 0.1 s; the 19 keys it held are lost (append-only: no)

What a call costs, before anything is done to the service
  strategy   calls  median ms  p95 ms  Redis commands a call  CPU ms a call  what never works
  memory       140        4.0     6.7                      -            3.1  -
  stateless    140        4.0     6.7                    2.5            3.1  -

4 cells; 2 rolling deployments, all as expected
"""


def rendered(made: Matrix, *, is_terminal: bool = False, where: str = "") -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=is_terminal)
    render_matrix(made, console=console, where=where)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_in_a_pipe_it_is_plain_text() -> None:
    assert rendered(as_expected()) == PLAIN


def test_on_a_terminal_fates_have_colours() -> None:
    shown = rendered(as_expected(), is_terminal=True)
    assert "\x1b[31mlost 2/3" in shown
    assert "\x1b[32msurvived 3/3" in shown


def test_a_surprise_says_what_was_expected() -> None:
    made = matrix(cell("memory"), lost("stateless"))
    assert "survived 3/3 (expected: lost)" in rendered(made)
    assert conclusion(made) == (
        "not as expected of a rolling deployment: memory survived and not lost, stateless lost and not survived"
    )


def test_what_is_missing_is_told_with_how_to_go_on() -> None:
    shown = rendered(matrix(lost("memory")), where="runs/x-matrix")
    assert "not played" in shown
    assert "nothing proved by 1 cell: stateless rolling" in shown
    assert shown.endswith("next: rollproof matrix --resume runs/x-matrix\n")


def test_a_cell_that_could_not_be_played_says_why() -> None:
    shown = rendered(matrix(lost("memory"), failed("stateless")))
    assert "could not be played" in shown
    assert "the service never became steady" in shown


def test_activities_that_fail_the_same_way_share_a_line() -> None:
    gone, hang = "404/-32600 Session not found", "hang"
    broken = {
        "roots": ActivityResult(ActivityState.FAILED, 9, 6, gone, "its target drained"),
        "elicitation": ActivityResult(ActivityState.FAILED, 8, 5, gone, "another target drained"),
        "sampling": ActivityResult(ActivityState.FAILED, 4, 1, hang),
        "delete": ActivityResult(ActivityState.OK, 4, 4),
    }
    shown = rendered(matrix(lost("memory"), cell("stateless", activities=broken)))
    assert "survived 3/3, breaks roots, elicitation, sampling" in shown
    assert "  roots 6/9, elicitation 5/8 well; 404/-32600 Session not found. its target drained\n" in shown
    assert "  sampling 1/4 well; hang\n" in shown


def test_markdown_has_the_same_facts() -> None:
    table, failures, costs = matrix_markdown(as_expected()).split("\n\n")
    assert table.splitlines()[2:] == [
        "| `memory` | lost 2/3 | not applicable |",
        "| `stateless` | survived 3/3, breaks resume | lost 2/3 |",
    ]
    assert "| `memory` | `rolling` | lost 2/3 | 9/30 | s3 get_session_state, 5.2 s after it: target" in failures
    assert "| `stateless` | `rolling` | survived 3/3 | 0/30 | resume 1/4 well; 405" in failures
    assert costs.splitlines()[2] == "| `memory` | 140 | 4.0 | 6.7 | - | 3.1 | - |"


def test_markdown_escapes_what_would_be_a_column() -> None:
    assert doctest.testmod(markdown).failed == 0
