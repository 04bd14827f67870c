"""Sessions in this process's memory: gone with the task, unknown to every other task."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from server.session_store import (
    COUNTER_MAX,
    COUNTER_MIN,
    MAX_VALUES,
    Increment,
    Scalar,
    State,
    StateRefused,
    StoreStatus,
    UnknownSession,
)


@dataclass(frozen=True)
class _RecordedCall:
    name: str
    by: int
    value: int
    expires_at: float


@dataclass
class _Session:
    expires_at: float
    values: State = field(default_factory=dict)
    calls: OrderedDict[str, _RecordedCall] = field(default_factory=OrderedDict)  # by idempotency key, oldest first


class InMemorySessionStore:
    """One time to live for all, so the order of last use is the order of expiry: expiring is O(1) a session.

    No method awaits anything, so each is atomic among the tasks of the event loop.
    """

    name = "memory"

    def __init__(self, *, ttl_s: float, idempotency_ttl_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._idempotency_ttl_s = idempotency_ttl_s
        self._now = now
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def create(self, session_id: str) -> None:
        if self._find(session_id) is None:
            self._create(session_id)

    async def write(self, session_id: str, key: str, value: Scalar, *, must_exist: bool = False) -> State:
        session = self._find(session_id, must_exist=must_exist) or self._create(session_id)
        _make_room(session, key)
        session.values[key] = value
        return dict(session.values)

    async def read(self, session_id: str) -> State | None:
        session = self._find(session_id)
        return None if session is None else dict(session.values)

    async def increment(
        self, session_id: str, name: str, by: int, idempotency_key: str | None, *, must_exist: bool = False
    ) -> Increment:
        session = self._find(session_id, must_exist=must_exist)
        if session is not None and idempotency_key is not None:
            call = session.calls.get(idempotency_key)
            if call is not None:
                if (call.name, call.by) != (name, by):
                    raise StateRefused.key_reused(idempotency_key)
                return Increment(call.value, replayed=True, state=dict(session.values))
        value = _sum(name, 0 if session is None else session.values.get(name, 0), by)
        if session is None:
            session = self._create(session_id)
        _make_room(session, name)
        session.values[name] = value
        if idempotency_key is not None:
            session.calls[idempotency_key] = _RecordedCall(name, by, value, self._now() + self._idempotency_ttl_s)
        return Increment(value, replayed=False, state=dict(session.values))

    async def end(self, session_id: str) -> bool:
        self._forget_expired()
        return self._sessions.pop(session_id, None) is not None

    async def status(self) -> StoreStatus:
        self._forget_expired()
        return StoreStatus(reachable=True, active_sessions=len(self._sessions))

    async def close(self) -> None:
        self._sessions.clear()

    def _find(self, session_id: str, *, must_exist: bool = False) -> _Session | None:
        self._forget_expired()
        session = self._sessions.get(session_id)
        if session is None:
            if must_exist:
                raise UnknownSession
            return None
        now = self._now()
        session.expires_at = now + self._ttl_s
        self._sessions.move_to_end(session_id)
        while session.calls and next(iter(session.calls.values())).expires_at <= now:
            session.calls.popitem(last=False)
        return session

    def _create(self, session_id: str) -> _Session:
        session = self._sessions[session_id] = _Session(expires_at=self._now() + self._ttl_s)
        return session

    def _forget_expired(self) -> None:
        now = self._now()
        while self._sessions and next(iter(self._sessions.values())).expires_at <= now:
            self._sessions.popitem(last=False)


def _make_room(session: _Session, key: str) -> None:
    if key not in session.values and len(session.values) >= MAX_VALUES:
        raise StateRefused.full()


def _sum(name: str, current: Scalar, by: int) -> int:
    # bool is an int in Python, but not a number in the state.
    if isinstance(current, bool) or not isinstance(current, int) or not COUNTER_MIN <= current <= COUNTER_MAX:
        raise StateRefused.not_a_counter(name)
    if not COUNTER_MIN <= current + by <= COUNTER_MAX:
        raise StateRefused.overflow(name)
    return current + by
