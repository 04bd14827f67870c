"""The error tree, and who is to act on each branch.

    RollproofError
    ├── UsageError            you: a flag, a template, a setting. Exit code 2
    │   └── NotModelled       asked for something of AWS that rollproof does not rehearse yet
    ├── RuntimeFault          the world: a port, a process, a disk
    │   ├── Temporary         trying again may help; the loop does so on its next tick
    │   └── Permanent         trying again will not help
    └── IllegalTransition     us: a state change that no table allows. Never caught

A message says what happened, where, and what to do next; `hint` holds the last part, so that a
terminal can set it apart.
"""

from __future__ import annotations


class RollproofError(Exception):
    """Base of everything rollproof raises on purpose.

    `wire_status` is the HTTP status an API answers with when this error reaches it.
    """

    wire_status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RollproofError):
    """The user's input is wrong; nothing was started."""

    wire_status = 400


class NotModelled(UsageError):
    """A real AWS feature that this rehearsal does not play. Said aloud, never ignored."""


class RuntimeFault(RollproofError):
    """The machine did not do what was asked."""


class Temporary(RuntimeFault):
    """May pass by itself."""

    wire_status = 503


class Permanent(RuntimeFault):
    """Will not pass by itself."""


class IllegalTransition(RollproofError):
    """A transition that is absent from its machine's table; the state is left untouched."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: {event!r} is not allowed in state {state!r}")
        self.machine, self.state, self.event = machine, state, event
