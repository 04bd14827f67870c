"""The sessions there are: one small record each in Redis, read by whichever replica gets a request.

A record holds whose session it is, what its client said in `initialize` and the version negotiated: all that a request
needs to be served. Records seen lately are kept here as well; that saves a round trip a call, and serves known sessions
while Redis is away.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mcp_types import InitializeRequestParams
from mcp_types.version import is_version_at_least

from rollproof.sessions.link import Link, StoreUnavailable
from rollproof.sessions.options import Options

RESUMABLE_SINCE = "2025-11-25"

_TOUCHES_A_LIFE = 20  # a session in use has its time to live renewed this often in one


@dataclass(eq=False)
class Session:
    """`owner` identifies the credential that opened it, None without authentication."""

    id: str
    owner: str | None
    client: InitializeRequestParams
    version: str
    log_level: str | None = None
    seen_at: float = field(default=0.0, compare=False)
    touched_at: float = field(default=0.0, compare=False)

    @property
    def can_resume(self) -> bool:
        """Whether its client takes broken streams up: it knows events without a message."""
        return is_version_at_least(self.version, RESUMABLE_SINCE)

    def record(self) -> str:
        client = self.client.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps({"owner": self.owner, "client": client, "version": self.version, "log": self.log_level})


class Registry:
    """Every coroutine raises StoreUnavailable where Redis has to be asked and does not answer."""

    def __init__(self, link: Link, options: Options, on_forget: Callable[[str], None] = lambda _: None) -> None:
        self._on_forget = on_forget
        self._link = link
        self._options = options
        self._seen: OrderedDict[str, Session] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()  # an answer that was on its way must not bring one back

    async def open(self, session: Session) -> None:
        """Record a new session, for a short time until it is used."""
        ttl_s = min(self._options.unproven_ttl_s, self._options.session_ttl_s)
        await self._link.command("SET", self._key(session.id), session.record(), "PX", _ms(ttl_s))
        session.touched_at = float("-inf")
        self._keep(session)

    async def find(self, session_id: str) -> Session | None:
        """The session, its time to live renewed; None if there is none."""
        now = _now()
        if session_id in self._ended:
            return None
        known = self._seen.get(session_id)
        if known is not None and now - known.seen_at < self._options.cache_s:
            self._touch(known, now)
            return known
        key, ttl = self._key(session_id), _ms(self._options.session_ttl_s)
        try:
            text = await self._link.command("GETEX", key, "PX", ttl)
        except StoreUnavailable:
            if known is None:
                raise
            return known  # nobody can have ended it: that takes Redis
        if text is None or session_id in self._ended:
            self.forget(session_id)
            return None
        session = _session(session_id, json.loads(text))
        session.touched_at = now
        self._keep(session)
        return session

    def note_ended(self, session_id: str) -> None:
        """It was ended somewhere. No other session ever gets its id."""
        self._ended[session_id] = None
        while len(self._ended) > self._options.cached_sessions:
            self._ended.popitem(last=False)
        self._drop(session_id)

    async def end(self, session_id: str) -> None:
        await self._link.command("DEL", self._key(session_id))
        self.note_ended(session_id)

    async def save(self, session: Session) -> None:
        """Keep what has changed in it, unless it has ended."""
        await self._link.command("SET", self._key(session.id), session.record(), "XX", "KEEPTTL")

    def forget(self, session_id: str | None = None) -> None:
        """Ask Redis when it is next used; all of them without an id."""
        if session_id is None:
            for session in self._seen.values():
                session.seen_at = float("-inf")
        else:
            self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        if self._seen.pop(session_id, None) is not None:
            self._on_forget(session_id)

    def _key(self, session_id: str) -> str:
        return self._link.key("session", session_id)

    def _keep(self, session: Session) -> None:
        session.seen_at = _now()
        self._seen[session.id] = session
        self._seen.move_to_end(session.id)
        while len(self._seen) > self._options.cached_sessions:
            self._drop(next(iter(self._seen)))

    def _touch(self, session: Session, now: float) -> None:
        if now - session.touched_at > self._options.session_ttl_s / _TOUCHES_A_LIFE:
            session.touched_at = now
            self._link.write(("PEXPIRE", self._key(session.id), _ms(self._options.session_ttl_s)))


def _session(session_id: str, record: dict[str, Any]) -> Session:
    client = InitializeRequestParams.model_validate(record["client"], by_name=False)
    return Session(session_id, record["owner"], client, record["version"], record["log"])


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
