"""What the tools answer, as structured content. Every result names the task that gave it.

That is what makes a deployment visible from outside: a client sees which task answered each call.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.session_store import State


@dataclass(frozen=True)
class Ping:
    task_id: str
    version: str
    duration_ms: float  # spent in the tool
    uptime_s: float  # of the task


@dataclass(frozen=True)
class Slow:
    task_id: str
    version: str
    duration_ms: float
    steps: int


@dataclass(frozen=True)
class SessionState:
    """The whole state of the session after the call; `state_size` counts its values."""

    task_id: str
    version: str
    session_id: str
    state: State
    state_size: int


@dataclass(frozen=True)
class Counted(SessionState):
    """`value` after the increment. `replayed`: the idempotency key was known, nothing was added this time."""

    name: str
    value: int
    replayed: bool


@dataclass(frozen=True)
class SessionCreated:
    """`session` is the handle: an argument of the tools that keep state."""

    task_id: str
    version: str
    session: str


@dataclass(frozen=True)
class SessionEnded:
    task_id: str
    version: str
    session: str


@dataclass(frozen=True)
class Confirmed:
    """`action` is "accept", "decline" or "cancel"; `answer` is empty unless accepted, `token` the call's own.

    `asked_by` is the task that put the question: with multi-round-trip requests another one may get the answer.
    """

    task_id: str
    version: str
    asked_by: str
    action: str
    answer: str
    token: str


@dataclass(frozen=True)
class Sampled:
    task_id: str
    version: str
    asked_by: str
    text: str
    model: str


@dataclass(frozen=True)
class Roots:
    task_id: str
    version: str
    asked_by: str
    uris: list[str]


@dataclass(frozen=True)
class Announced:
    """`count` notifications were given to the session's stream; where no client holds one open, they are lost."""

    task_id: str
    version: str
    count: int


@dataclass(frozen=True)
class WhoAmI:
    """`session_id` is None where the client's calls share none. `transport`: "stateless" or "stateful"."""

    task_id: str
    version: str
    session_id: str | None
    transport: str
    session_store: str
    protocol_version: str | None
    pid: int
