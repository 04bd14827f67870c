"""The error tree: who is to act, and the status an API would answer with."""

from __future__ import annotations

import pytest

from rollproof.core.errors import (
    IllegalTransition,
    NotModelled,
    Permanent,
    RollproofError,
    RuntimeFault,
    Temporary,
    UsageError,
)


@pytest.mark.parametrize(
    ("kind", "parent", "wire_status"),
    [
        (UsageError, RollproofError, 400),
        (NotModelled, UsageError, 400),
        (RuntimeFault, RollproofError, 500),
        (Temporary, RuntimeFault, 503),
        (Permanent, RuntimeFault, 500),
    ],
)
def test_error_has_its_place_and_status(
    kind: type[RollproofError], parent: type[RollproofError], wire_status: int
) -> None:
    error = kind("what and where", hint="what next")
    assert isinstance(error, parent)
    assert (error.wire_status, error.message, error.hint, str(error)) == (
        wire_status,
        "what and where",
        "what next",
        "what and where",
    )


def test_illegal_transition_names_machine_state_and_event() -> None:
    error = IllegalTransition("task t1", "STOPPED", "RUNNING")
    assert (error.machine, error.state, error.event) == ("task t1", "STOPPED", "RUNNING")
    assert str(error) == "task t1: 'RUNNING' is not allowed in state 'STOPPED'"
