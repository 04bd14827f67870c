"""Where the state of logical sessions lives: one interface, two stores.

A logical session is what the tools remember for one client: named values under a session id. It is created
by its first write or by `create_session`, refreshed by every use and forgotten after its time to live. It is
not the transport session of Streamable HTTP, which fastmcp keeps in this process unless MCP_STATELESS_HTTP is
set: moving one out of the task without the other still loses sessions in a deployment.

Both stores pass the same tests (tests/server/test_session_stores.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from server.settings import Settings

Scalar = str | int | float | bool
State = dict[str, Scalar]

MAX_VALUES = 10_000  # named values in one session; a client that writes for ever must not fill the store
COUNTER_MIN, COUNTER_MAX = -(2**63), 2**63 - 1  # what Redis counts in


class StoreUnavailable(Exception):
    """The store cannot be reached, or does not take commands now. The outcome of a write is unknown."""


class UnknownSession(Exception):
    """This session must exist, but was never created, has ended or has expired."""


class StateRefused(Exception):
    """The store is well, but will not do this; nothing was changed. The message is for the client."""

    @classmethod
    def full(cls) -> StateRefused:
        return cls(f"a session holds at most {MAX_VALUES} values")

    @classmethod
    def not_a_counter(cls, name: str) -> StateRefused:
        return cls(f"{name!r} holds a value that is not a whole number of 64 bits, so it cannot be incremented")

    @classmethod
    def overflow(cls, name: str) -> StateRefused:
        return cls(f"incrementing {name!r} would leave the range of 64-bit numbers")

    @classmethod
    def key_reused(cls, key: str) -> StateRefused:
        return cls(f"idempotency key {key!r} was already used for an increment with other arguments")


@dataclass(frozen=True)
class Increment:
    """`value` after it was applied. `replayed`: this idempotency key had been seen, nothing was added now."""

    value: int
    replayed: bool
    state: State


@dataclass(frozen=True)
class StoreStatus:
    """`active_sessions` is None where it could not be counted."""

    reachable: bool
    active_sessions: int | None


class SessionStore(Protocol):
    """Every operation refreshes the session's time to live; all raise StoreUnavailable.

    A session comes into being by its first write or increment, unless `must_exist`: then it has to have been created,
    else UnknownSession is raised.
    """

    name: str

    async def create(self, session_id: str) -> None:
        """A session that holds nothing yet. Nothing happens to one that exists."""

    async def write(self, session_id: str, key: str, value: Scalar, *, must_exist: bool = False) -> State:
        """Set one value; the whole state. Raises StateRefused, UnknownSession."""

    async def read(self, session_id: str) -> State | None:
        """The whole state, or None if the session was never seen, has ended or has expired."""

    async def increment(
        self, session_id: str, name: str, by: int, idempotency_key: str | None, *, must_exist: bool = False
    ) -> Increment:
        """Add to a counter (absent: 0). Atomic. Raises StateRefused, UnknownSession."""

    async def end(self, session_id: str) -> bool:
        """Forget the session and what it recorded; whether there was one."""

    async def status(self) -> StoreStatus:
        """Answers within a fraction of a second, whatever state the store is in; never raises."""

    async def close(self) -> None: ...


def create_session_store(settings: Settings) -> SessionStore:
    """Redis where REDIS_URL is set, else this process's memory. Connects to nothing yet.

    Raises SettingsError where REDIS_URL holds an option that the client does not know.
    """
    if settings.redis_url is None:
        from server.memory_store import InMemorySessionStore  # noqa: PLC0415 - only one of the two is ever needed

        return InMemorySessionStore(ttl_s=settings.session_ttl_s, idempotency_ttl_s=settings.idempotency_ttl_s)
    from server.redis_store import RedisSessionStore  # noqa: PLC0415

    return RedisSessionStore(
        settings.redis_url, ttl_s=settings.session_ttl_s, idempotency_ttl_s=settings.idempotency_ttl_s
    )
