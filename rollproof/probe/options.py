"""What a probe is asked to do. The defaults are a plain client's: one session, a write and a read every few seconds.

What the options refuse to guess: whether the server is stateless (found out at initialize) and which tools it has
(found out with tools/list).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from rollproof.core.errors import NotModelled, UsageError

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MIB = 1024 * 1024


class Era(StrEnum):
    """Which protocol the clients speak."""

    LEGACY = "legacy"  # 2025-11-25: initialize, Mcp-Session-Id, GET stream
    MODERN = "modern"  # 2026-07-28: every request stands alone (SEP-2567, SEP-2575)
    BOTH = "both"  # every second session is modern


class CookieMode(StrEnum):
    """What a client does with Set-Cookie."""

    FULL = "full"  # follows every rotation, as a browser does
    FIRST = "first"  # keeps what it was given first, as a client that captures the cookie once does
    NONE = "none"  # ignores cookies, as most MCP clients do


class SessionIds(StrEnum):
    """Whose `Mcp-Session-Id` the calls carry."""

    AUTO = "auto"  # the server's where it issues one, else a stable one made by the client
    SERVER = "server"  # the server's or none
    CLIENT = "client"  # always the client's own: what a stateless server keys its state on
    HANDLE = "handle"  # none: a tool mints a handle, and it goes as an argument (SEP-2567)


class Increments(StrEnum):
    """Whether each operation also counts, to show what was applied twice or not at all."""

    NONE = "none"
    PLAIN = "plain"  # not idempotent; never repeated unless the server refused it
    KEYED = "keyed"  # with an idempotency key; repeated under the same key


class Activity(StrEnum):
    """What a session does besides calling tools; each is judged apart from the session's own fate."""

    ELICITATION = "elicitation"  # the server asks the client in mid-call; the answer is a request of its own
    SAMPLING = "sampling"
    ROOTS = "roots"
    PROGRESS = "progress"  # notifications on the call's own stream
    STREAM = "stream"  # notifications on the session's standalone GET stream
    RESUME = "resume"  # a broken answer taken up with Last-Event-ID
    DELETE = "delete"  # a session ended by its client stays ended
    TASKS = "tasks"  # a call answered with a task that is asked for until it is done


@dataclass(frozen=True)
class ProbeOptions:
    """One probe: `sessions` clients that each repeat an operation against `endpoint`.

    An operation is a write and a read of everything written so far, with an increment between them if asked for.
    """

    endpoint: str  # .../mcp
    sessions: int = 1
    calls: int = 0  # operations a session; 0 = until told to stop
    delay_s: float = 2.0  # between two calls of a session
    era: Era = Era.LEGACY
    cookies: CookieMode = CookieMode.FULL
    session_ids: SessionIds = SessionIds.AUTO
    reinitialise: bool = False  # on 404, as the specification asks; most clients do not
    retries: int = 0  # how often a failed operation is repeated as a whole
    replay: bool = False  # in a session that began anew, all it had done is done again first; needs keyed increments
    increments: Increments = Increments.NONE
    slow_every: int = 0  # every Nth session also keeps a slow call in flight; 0 = none
    slow_s: float = 10.0
    open_streams: bool = False  # a standalone GET stream per session
    resume: bool = True  # take up a broken answer with Last-Event-ID where the server numbers its events
    activities: tuple[Activity, ...] = ()  # one after each operation, in turn
    answer_delay_s: float = 0.2  # a client thinks before it answers a server's question
    activity_timeout_s: float = 10.0  # for each answer of an activity
    activity_slow_s: float = 0.8  # how long the slow calls of activities last
    notice_within_s: float = 5.0  # an announcement that is not on the stream by then is late
    tool: str = ""  # call this tool instead of the sample's
    arguments: Mapping[str, Any] = field(default_factory=dict)
    write_tool: str = ""  # writes a text into the session's state, in place of the sample's
    read_tool: str = ""  # shows that state: every text that was written is in its answer, in whatever form
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # sent with each request; may hold a secret
    record_state: bool = False  # the whole state on each read's record, not its size alone
    request_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    start_timeout_s: float = 15.0  # for the first answer of the endpoint
    reconnect_s: float = 1.0  # before a stream is taken up again, unless the server named another time
    ramp_up_s: float = 0.0  # sessions start evenly within this time
    # Shorter than the usual 5 s of servers: the client, not the server, closes an idle connection, so that the
    # race between a server's close and the next request is not mistaken for a fault of the rollout.
    keepalive_expiry_s: float = 4.0
    max_answer_bytes: int = 8 * _MIB

    def validate(self) -> None:
        """Raises UsageError, or NotModelled, naming the option and what to do."""
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise UsageError(f"endpoint {self.endpoint!r} is not an http URL", hint="e.g. http://127.0.0.1:8080/mcp")
        self._validate_numbers()
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise UsageError(
                    f"header {name!r} cannot be sent", hint="a name of letters and dashes, a value of ASCII"
                )
        if self.slow_every and self.request_timeout_s <= self.slow_s:
            raise UsageError(
                f"request_timeout_s ({self.request_timeout_s:g}) would end every slow call ({self.slow_s:g} s)",
                hint="raise the request timeout above slow_s",
            )
        if self.activity_timeout_s <= self.activity_slow_s:
            raise UsageError(
                f"activity_timeout_s ({self.activity_timeout_s:g}) would end every slow call of an activity",
                hint="raise it above activity_slow_s",
            )
        if self.replay and self.increments is Increments.PLAIN:
            raise UsageError("replay would count again what was counted", hint="take keyed increments, or none")
        if self.arguments and not self.tool:
            raise UsageError("arguments are given, but no tool", hint="name it with --tool")
        if bool(self.write_tool) is not bool(self.read_tool) or (self.tool and self.write_tool):
            raise UsageError(
                "write_tool and read_tool go together, and without another tool",
                hint="name the tool that writes a session's state and the one that shows it, or only a tool to call",
            )
        if self.era is Era.MODERN and self.open_streams:
            raise NotModelled(
                "protocol 2026-07-28 has no GET stream, and the probe does not speak subscriptions/listen",
                hint="use the legacy era, or leave the open stream out",
            )
        if self.era is Era.MODERN and self.reinitialise and self.session_ids is not SessionIds.HANDLE:
            raise UsageError("protocol 2026-07-28 has no initialize to repeat", hint="leave reinitialise out")
        if self.sessions < len(self.eras):
            raise UsageError("one session cannot speak both eras", hint="give two sessions or more, or one era")
        if self.session_ids is SessionIds.HANDLE and self.tool:
            raise UsageError(
                "session handles are an argument of the sample's tools", hint="leave --tool out, or the handles"
            )

    @property
    def eras(self) -> tuple[Era, ...]:
        """The eras that are spoken, legacy first."""
        return (Era.LEGACY, Era.MODERN) if self.era is Era.BOTH else (self.era,)

    def in_era(self, era: Era) -> ProbeOptions:
        """The options of the sessions that speak `era`: of both, what only the legacy one has is left to that half."""
        if self.era is not Era.BOTH:
            return self
        if era is Era.LEGACY:
            return replace(self, era=era)
        renews_handles = self.reinitialise and self.session_ids is SessionIds.HANDLE
        return replace(self, era=era, open_streams=False, reinitialise=renews_handles)

    @property
    def first_activities(self) -> int:
        """How many activities each session does before it is warm: together the sessions of an era try each once."""
        return -(-len(self.activities) // max(1, self.sessions // len(self.eras)))

    @property
    def activities_warm_up_s(self) -> float:
        """What those may take: some of them time out where the server does not do them."""
        return self.first_activities * (self.delay_s + self.activity_timeout_s + self.notice_within_s)

    def _validate_numbers(self) -> None:
        names = ("calls", "delay_s", "retries", "slow_every", "ramp_up_s", "reconnect_s", "answer_delay_s")
        least = dict.fromkeys(names, 0)
        least["sessions"] = 1
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise UsageError(f"{name} is {getattr(self, name):g}", hint=f"the least is {minimum}")
        times = ("slow_s", "request_timeout_s", "connect_timeout_s", "start_timeout_s")
        for name in (*times, "activity_timeout_s", "activity_slow_s", "notice_within_s", "max_answer_bytes"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name):g}", hint="it must be above 0")
