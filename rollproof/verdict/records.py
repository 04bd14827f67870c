"""Records in, typed facts out: the one place that knows what a history line may lack.

A history may be torn (a killed writer), half (a killed run) or foreign (a server that names no task), so
every field is read with a default and a record without a usable `t` is dropped and counted. Nothing here
raises on bad input, and nothing behind it has to look at a raw dict again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A probe's call. `t` is when its answer (or its failure) was written down."""

    t: float
    session: str
    number: int | None
    tool: str
    ok: bool
    started_at: float
    http_status: int | None = None
    rpc_code: int | None = None
    rpc_message: str = ""
    task_id: str = ""
    state_size: int | None = None
    state: Any = None
    expected: Any = None
    error: str = ""
    signature: str = ""
    new_session: bool = False
    replay: bool = False  # done again in a session that began anew
    key: str = ""
    step: str = ""  # "read" where the tool's name does not say so
    era: str = ""
    activity: str = ""  # what the session did besides its calls; judged apart from them
    activity_outcome: str = ""

    @property
    def is_session_gone(self) -> bool:
        """The server does not know the session: 404, 400 or 200 around a JSON-RPC error that says so."""
        words = f"{self.rpc_message} {self.error} {self.signature}".lower()
        return not self.ok and "session" in words and any(w in words for w in SESSION_GONE_WORDS)

    @property
    def is_unacknowledged(self) -> bool:
        """Sent, and no answer of the server arrived: the client cannot know whether the call was applied."""
        if self.ok or self.rpc_code is not None or self.signature == NOTHING_SENT:
            return False
        return self.signature in NO_ANSWER or self.http_status in (None, 502, 504)

    @property
    def is_unanswered(self) -> bool:
        """The server's own answer did not come, whether or not the call had been sent."""
        return self.is_unacknowledged or self.signature == NOTHING_SENT

    @property
    def is_write(self) -> bool:
        """Meant to change the session's state: the client gave it a key, or its tool's name says so."""
        return bool(self.key) or self.tool.startswith(WRITE_WORDS)

    @property
    def is_read(self) -> bool:
        """Meant to show the session's state."""
        return self.step == "read" or (not self.is_write and self.tool.startswith(READ_WORDS))


NOTHING_SENT = "connect-error"
NO_ANSWER = frozenset({"connection-closed", "stream-ended-without-response", "timeout"})
"""Signatures of a client's transport (rollproof.probe.answer): what became of a call that has no answer."""

WRITE_WORDS = ("set_", "put_", "add_", "write_", "update_", "create_", "increment")
READ_WORDS = ("get_", "read_", "show_")

SESSION_GONE_WORDS = ("not found", "terminated", "no valid session", "missing session", "unknown session")
"""How MCP servers say it, across SDKs and versions: Python 404 -32600 "Session not found" and "Session has been
terminated", 400 "Missing session ID", TypeScript 404 -32001, early releases 400 "No valid session ID provided"."""


@dataclass(frozen=True)
class SessionEvent:
    t: float
    session: str
    event: str
    task_id: str = ""
    reason: str = ""
    fields: Raw = field(default_factory=dict)


@dataclass(frozen=True)
class CookieChange:
    t: float
    session: str
    name: str
    task_id: str = ""
    previous_task_id: str = ""


@dataclass(frozen=True)
class TaskChange:
    t: float
    task_id: str
    known: str = ""
    desired: str = ""
    deployment: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    target_id: str = ""
    address: str = ""
    signal: str = ""


@dataclass(frozen=True)
class TargetChange:
    t: float
    target_id: str
    task_id: str = ""
    state: str = ""
    reason: str = ""
    previous: str = ""
    draining_until: float | None = None
    cut: int | None = None


@dataclass(frozen=True)
class NodeChange:
    t: float
    node: str
    target_id: str
    state: str


@dataclass(frozen=True)
class DeploymentChange:
    t: float
    id: str
    status: str = ""
    rollout_state: str = ""
    reason: str = ""
    failed_tasks: int = 0


@dataclass(frozen=True)
class Request:
    """A line of the access log. `arrived_at` is the request's creation on the history's own clock."""

    t: float
    arrived_at: float
    target: str
    elb_status: str
    target_status: str
    error_reason: str
    line: str

    @property
    def was_dispatched(self) -> bool:
        return self.target not in ("", "-")


@dataclass(frozen=True)
class Text:
    """A record that is a name or a sentence: service_event, mark, fault, alarm, orchestrator."""

    t: float
    kind: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Fault(Text):
    """`text` is its name, `detail` whom it hit, `told` its parameters. `number` and `plan`: if it was planned."""

    told: str = ""
    number: int | None = None
    plan: str = ""
    ended_at: float | None = None


@dataclass(frozen=True)
class History:
    """All facts of a run by kind, each list in order of `t`. `calls` are without those of `activities`."""

    calls: tuple[Call, ...] = ()
    activities: tuple[Call, ...] = ()
    sessions: tuple[SessionEvent, ...] = ()
    cookies: tuple[CookieChange, ...] = ()
    tasks: tuple[TaskChange, ...] = ()
    targets: tuple[TargetChange, ...] = ()
    nodes: tuple[NodeChange, ...] = ()
    deployments: tuple[DeploymentChange, ...] = ()
    requests: tuple[Request, ...] = ()
    events: tuple[Text, ...] = ()
    marks: tuple[Text, ...] = ()
    faults: tuple[Fault, ...] = ()
    alarms: tuple[Text, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Raw] = field(default_factory=dict)  # setting name -> its whole record
    unusable: int = 0
    ended_at: float = 0.0

    def setting_s(self, name: str) -> float | None:
        """A setting as a number, None where it is absent or none."""
        return as_number(self.settings.get(name))

    @property
    def speed(self) -> float:
        """AWS seconds per real second."""
        speed = self.setting_s("speed")
        return speed if speed and speed > 0 else 1.0

    @cached_property
    def by_session(self) -> Mapping[str, tuple[Call, ...]]:
        """Each session's calls in the order in which they were *begun*.

        A slow call that fails at the end of a drain says nothing about those begun, and answered, after it.
        """
        found: dict[str, list[Call]] = {}
        for call in sorted(self.calls, key=lambda call: (call.started_at, call.t)):
            found.setdefault(call.session, []).append(call)
        return {session: tuple(calls) for session, calls in found.items()}

    def mark_at(self, name: str) -> float | None:
        return next((m.t for m in self.marks if m.text == name), None)


def read(records: Iterable[Any]) -> History:
    """The facts of `records`, in any order and of any completeness."""
    by_kind: dict[str, list[Raw]] = {}
    unusable, ended_at = 0, 0.0
    for record in records:
        if not isinstance(record, Mapping) or as_number(record.get("t")) is None:
            unusable += 1
            continue
        by_kind.setdefault(_text(record, "kind"), []).append(record)
        ended_at = max(ended_at, _t(record))
    for group in by_kind.values():
        group.sort(key=_t)
    settings = by_kind.get("setting", [])

    def texts(kind: str, key: str, detail: str = "") -> tuple[Text, ...]:
        return tuple(Text(_t(r), kind, _text(r, key), _text(r, detail)) for r in by_kind.get(kind, ()))

    all_calls = sorted((_call(r) for r in by_kind.get("call", ())), key=lambda c: (c.t, c.started_at))
    return History(
        calls=tuple(call for call in all_calls if not call.activity),
        activities=tuple(call for call in all_calls if call.activity),
        sessions=tuple(_session(r) for r in by_kind.get("session", ())),
        cookies=tuple(_cookie(r) for r in by_kind.get("cookie", ())),
        tasks=tuple(_task(r) for r in by_kind.get("task", ())),
        targets=tuple(_target(r) for r in by_kind.get("target", ())),
        nodes=tuple(
            NodeChange(_t(r), _text(r, "node"), _text(r, "target_id"), _text(r, "state"))
            for r in by_kind.get("node", ())
        ),
        deployments=tuple(_deployment(r) for r in by_kind.get("deployment", ())),
        requests=tuple(sorted((_request(r) for r in by_kind.get("request", ())), key=lambda q: q.arrived_at)),
        events=texts("service_event", "message"),
        marks=texts("mark", "name", "detail"),
        faults=_faults(by_kind.get("fault", ()), by_kind.get("mark", ())),
        alarms=texts("alarm", "name", "state"),
        settings={_text(r, "name"): r.get("value") for r in settings},
        sources={_text(r, "name"): r for r in settings},
        unusable=unusable,
        ended_at=ended_at,
    )


def as_number(value: Any) -> float | None:
    """A finite number, from a number or its text; None otherwise."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number - number == 0 else None  # neither infinite nor NaN


def as_flag(value: Any) -> bool:
    """True for true, 1, "true", "yes", "on"."""
    return value is True or str(value).strip().lower() in ("1", "true", "yes", "on")


def iso_seconds(text: str) -> float | None:
    """Seconds since 1970 of `2026-11-20T10:00:00.123456Z`; None where it is not of that form.

    Differs of such times is all that is needed here, and a clock's library is what this package does without.
    """
    date, separator, clock = text.removesuffix("Z").partition("T")
    try:
        year, month, day = (int(part) for part in date.split("-"))
        hour, minute, second = clock.split(":")
        seconds = int(hour) * 3600 + int(minute) * 60 + float(second)
    except ValueError:
        return None
    shifted = year - (month <= 2)  # a year that begins in March ends with the leap day
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719_468
    return days * 86_400 + seconds if separator else None


def _call(record: Raw) -> Call:
    error = record.get("rpc_error")
    rpc: Raw = error if isinstance(error, Mapping) else {}
    t = _t(record)
    started_at = as_number(record.get("started_t"))
    if started_at is None:
        started_at = t - (as_number(record.get("latency_s")) or 0.0)
    status, code = _integer(record, "http_status"), _integer(rpc, "code")
    ok = record.get("ok")
    return Call(
        t=t,
        session=_text(record, "session"),
        number=_integer(record, "call_number"),
        tool=_text(record, "tool"),
        ok=ok if isinstance(ok, bool) else status == 200 and code is None,
        started_at=min(started_at, t),
        http_status=status,
        rpc_code=code,
        rpc_message=_text(rpc, "message"),
        task_id=_text(record, "task_id"),
        state_size=_integer(record, "state_size"),
        state=record.get("state"),
        expected=record.get("expected"),
        error=_text(record, "error"),
        signature=_text(record, "signature"),
        new_session=as_flag(record.get("new_session")),
        replay=as_flag(record.get("replay")),
        key=_text(record, "key"),
        step=_text(record, "step"),
        era=_text(record, "era"),
        activity=_text(record, "activity"),
        activity_outcome=_text(record, "activity_outcome"),
    )


def _session(record: Raw) -> SessionEvent:
    return SessionEvent(
        _t(record),
        _text(record, "session"),
        _text(record, "event"),
        _text(record, "task_id"),
        _text(record, "reason"),
        record,
    )


def _cookie(record: Raw) -> CookieChange:
    return CookieChange(
        _t(record),
        _text(record, "session"),
        _text(record, "cookie_name"),
        _text(record, "task_id"),
        _text(record, "previous_task_id"),
    )


def _task(record: Raw) -> TaskChange:
    words = ("known", "desired", "deployment", "stop_code", "stopped_reason", "target_id", "address", "signal")
    return TaskChange(
        t=_t(record),
        task_id=_text(record, "task_id"),
        exit_code=_integer(record, "exit_code"),
        **{word: _text(record, word) for word in words},
    )


def _target(record: Raw) -> TargetChange:
    return TargetChange(
        t=_t(record),
        draining_until=as_number(record.get("draining_until")),
        cut=_integer(record, "cut"),
        **{word: _text(record, word) for word in ("target_id", "task_id", "state", "reason", "previous")},
    )


def _deployment(record: Raw) -> DeploymentChange:
    return DeploymentChange(
        t=_t(record),
        failed_tasks=_integer(record, "failed_tasks") or 0,
        **{word: _text(record, word) for word in ("id", "status", "rollout_state", "reason")},
    )


def _request(record: Raw) -> Request:
    return Request(
        t=_t(record),
        arrived_at=_arrived_at(record),
        target=_text(record, "target"),
        elb_status=_text(record, "elb_status_code"),
        target_status=_text(record, "target_status_code"),
        error_reason=_text(record, "error_reason"),
        line=_text(record, "request"),
    )


def _arrived_at(record: Raw) -> float:
    """When the request arrived, on the history's clock.

    A log line is read some time after it was written, so `t` is only the fallback: `at` and `t` together give
    the stage's start, and `request_creation_time` is then a point on the same clock. A stream lasts for
    minutes; without its creation time, the three processing times are all there is to go back by.
    """
    t = _t(record)
    created, at = iso_seconds(_text(record, "request_creation_time")), iso_seconds(_text(record, "at"))
    if created is not None and at is not None:
        return min(t, created - (at - t))
    spans = (as_number(record.get(f"{part}_processing_time")) or 0.0 for part in ("request", "target", "response"))
    return t - sum(max(span, 0.0) for span in spans)


def _faults(records: Iterable[Raw], marks: Iterable[Raw]) -> tuple[Fault, ...]:
    """One that hits several is several; they end together."""
    ended = {_integer(mark, "fault"): _t(mark) for mark in marks if _text(mark, "name") == "fault-ended"}
    return tuple(
        Fault(
            _t(r),
            "fault",
            _text(r, "name"),
            _text(r, "target"),
            told=_text(r, "detail"),
            number=(number := _integer(r, "fault")),
            plan=_text(r, "plan"),
            ended_at=None if number is None else ended.get(number),
        )
        for r in records
    )


def _t(record: Raw) -> float:
    return as_number(record.get("t")) or 0.0


def _text(record: Raw, key: str) -> str:
    value = record.get(key)
    return "" if value is None else str(value)


def _integer(record: Raw, key: str) -> int | None:
    number = as_number(record.get(key))
    return None if number is None else int(number)
