"""When a fault is to happen: a state that something enters, and a distance from it. Pure.

    120 s                      of the history, as the reports' t
    warmed-up + 10 s           every session has written and read once
    steady                     ECS says that the service has reached a steady state (again)
    deployment started         completed, failed
    task RUNNING + 5 s         any status of ECS; SIGTERM, SIGKILL: the signal is sent
    target draining + 3 s      initial, healthy, unhealthy, draining, unused
    target unused - 10 s       the one moment that is known before it comes: a draining ends with its delay
    node draining              one load balancer node sees a target so; also healthy, unhealthy

What was so before the sessions were warm does not count: "target healthy" is the next target that becomes healthy.
All seconds are AWS's own, whatever the speed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.core.target_group import TargetState
from rollproof.core.task import TaskStatus


class Subject(StrEnum):
    """Whose state it is."""

    TIME = "time"
    MARK = "mark"
    DEPLOYMENT = "deployment"
    TASK = "task"
    TARGET = "target"
    NODE = "node"


WARMED_UP, STEADY = "warmed-up", "steady"
STATES: Mapping[Subject, tuple[str, ...]] = {
    Subject.DEPLOYMENT: ("started", "completed", "failed"),
    Subject.TASK: (*(status.name for status in TaskStatus), "SIGTERM", "SIGKILL"),
    Subject.TARGET: tuple(state.value for state in TargetState),
    Subject.NODE: (TargetState.HEALTHY.value, TargetState.UNHEALTHY.value, TargetState.DRAINING.value),
}
UNUSED = TargetState.UNUSED.value

_OFFSET = re.compile(r"^(?P<what>.*?)\s*(?P<sign>[+-])\s*(?P<size>\d+(?:\.\d+)?)\s*(?P<unit>s|min)?$")
_TIME = re.compile(r"^(?P<size>\d+(?:\.\d+)?)\s*(?P<unit>s|min)?$")


@dataclass(frozen=True)
class Moment:
    """`offset_s` after `subject` has entered `state`; for TIME the point of the history itself."""

    subject: Subject
    state: str = ""
    offset_s: float = 0.0

    def __str__(self) -> str:
        if self.subject is Subject.TIME:
            return f"{self.offset_s:g} s"
        what = self.state if self.subject is Subject.MARK else f"{self.subject} {self.state}"
        sign = "-" if self.offset_s < 0 else "+"
        return f"{what} {sign} {abs(self.offset_s):g} s" if self.offset_s else what


WARM = Moment(Subject.MARK, WARMED_UP)


@dataclass(frozen=True)
class Entered:
    """`subject` has entered `state` at `t`. `ends_at`: when the state is known to be over, for a draining."""

    subject: Subject
    state: str
    t: float
    task_id: str = ""
    node: str = ""
    ends_at: float | None = None


def parse_moment(text: str) -> Moment:
    """The moment that `text` says. Raises UsageError with what can be said."""
    plain = " ".join(text.split())
    if found := _TIME.match(plain):
        return Moment(Subject.TIME, offset_s=_seconds(found))
    found = _OFFSET.match(plain)
    what, offset_s = (found["what"], _seconds(found)) if found else (plain, 0.0)
    if found and found["sign"] == "-":
        offset_s = -offset_s
    subject, state = _state(what, text)
    if offset_s < 0 and (subject, state) != (Subject.TARGET, UNUSED):
        raise UsageError(
            f"{text!r}: nobody knows beforehand when that will be",
            hint="count from an earlier moment with +; only `target unused - 10 s` is known in advance",
        )
    return Moment(subject, state, offset_s)


def _seconds(found: re.Match[str]) -> float:
    return float(found["size"]) * (60.0 if found["unit"] == "min" else 1.0)


def parse_seconds(text: str) -> float:
    """`30 s`, `30` or `2 min`. Raises UsageError."""
    found = _TIME.match(" ".join(text.split()))
    if not found:
        raise UsageError(f"{text!r} is no duration", hint="e.g. 30 s, or 2 min")
    return _seconds(found)


def _state(what: str, text: str) -> tuple[Subject, str]:
    if what in (WARMED_UP, STEADY):
        return Subject.MARK, what
    word, _, said = what.partition(" ")
    known = STATES.get(Subject(word)) if word in STATES else None
    if known is None:
        subjects = ", ".join(STATES)
        raise UsageError(
            f"{text!r} names no moment",
            hint=f"a time (120 s), {WARMED_UP}, {STEADY}, or a state of one of: {subjects}; e.g. target draining + 3 s",
        )
    state = next((state for state in known if state.lower() == said.lower()), None)
    if state is None:
        raise UsageError(f"{text!r}: no {word} is ever {said or 'without a state'}", hint=f"{word}: {', '.join(known)}")
    return Subject(word), state


def begins_at(moment: Moment, entered: Entered, speed: float = 1.0) -> float | None:
    """The point of the history that `moment` is, if `entered` is what it waits for; None where it is not."""
    if entered.subject is not moment.subject:
        return None
    offset_s = moment.offset_s / speed
    if moment.offset_s < 0:
        return None if entered.ends_at is None else max(entered.t, entered.ends_at + offset_s)
    return entered.t + offset_s if entered.state == moment.state else None


class Watch:
    """Reads history records, in order, and tells what has entered which state."""

    def __init__(self) -> None:
        self._states: dict[tuple[Subject, str], str] = {}

    def see(self, record: Mapping[str, Any]) -> list[Entered]:
        """What `record` says that is new."""
        t = float(record["t"])
        match record["kind"]:
            case "deployment":
                return self._deployment(record, t)
            case "task":
                return self._task(record, t)
            case "target":
                return self._target(record, t)
            case "node":
                task = self._states.get((Subject.TARGET, f"task of {record['target_id']}"), "")
                key = f"{record['node']} {record['target_id']}"
                return self._entered(Subject.NODE, key, str(record["state"]), t, task_id=task, node=str(record["node"]))
            case "service_event" if "has reached a steady state" in record["message"]:
                return [Entered(Subject.MARK, STEADY, t)]
            case _:
                return []

    def _deployment(self, record: Mapping[str, Any], t: float) -> list[Entered]:
        identifier = str(record["id"])
        state = {"COMPLETED": "completed", "FAILED": "failed"}.get(str(record.get("rollout_state")), "started")
        return self._entered(Subject.DEPLOYMENT, identifier, state, t)

    def _task(self, record: Mapping[str, Any], t: float) -> list[Entered]:
        task_id = str(record["task_id"])
        if signal := record.get("signal"):
            return [Entered(Subject.TASK, str(signal), t, task_id)]
        return self._entered(Subject.TASK, task_id, str(record["known"]), t, task_id=task_id)

    def _target(self, record: Mapping[str, Any], t: float) -> list[Entered]:
        target_id, state = str(record["target_id"]), str(record["state"])
        task_key = Subject.TARGET, f"task of {target_id}"
        task_id = str(record.get("task_id") or self._states.get(task_key, ""))
        self._states[task_key] = task_id
        ends_at = record.get("draining_until")
        return self._entered(Subject.TARGET, target_id, state, t, task_id=task_id, ends_at=ends_at)

    def _entered(self, subject: Subject, key: str, state: str, t: float, **more: Any) -> list[Entered]:
        if self._states.get((subject, key)) == state:
            return []
        self._states[subject, key] = state
        return [Entered(subject, state, t, **more)]
