"""What a session makes of the answer to a step: the truth is told of it, then asked. No I/O.

An answer can be well-formed and wrong: a read that lacks an acknowledged value was answered with 200. So a
judgement may override the answer's own signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollproof.probe.answer import OK, Answer, text_of
from rollproof.probe.checker import SessionTruth
from rollproof.probe.plan import Increment, Read, Step, Write

UNREADABLE = "tool-error: no state in the answer"
UNCOUNTABLE = "tool-error: no counter in the answer"
_COUNTER_NAMES = ("value", "counter", "count")


@dataclass(frozen=True)
class Judgement:
    """`fields` are for the call's record."""

    signature: str
    error: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.signature == OK


def judge(step: Step, answer: Answer, truth: SessionTruth, *, with_state: bool = False) -> Judgement:
    """`with_state`: put the whole state, and what it should be, on the record even if nothing is wrong with it."""
    match step:
        case Write():
            truth.wrote(step.key, step.value, answer.outcome)
            fields = {"key": step.key} | _state_of(answer, with_state)
            return Judgement(answer.signature, answer.error, fields)
        case Read(is_by_text=True):
            return _judge_text(answer, truth)
        case Read() if answer.ok:
            return _judge_read(answer, truth, with_state)
        case Increment():
            truth.incremented(step.key, answer.outcome)
            return _judge_increment(step, answer, truth)
        case _:
            return Judgement(answer.signature, answer.error)


def _judge_read(answer: Answer, truth: SessionTruth, with_state: bool) -> Judgement:
    state = answer.payload.get("state")
    if not isinstance(state, Mapping):
        return Judgement(UNREADABLE, "the answer holds no object named state")
    check = truth.check_state(state)
    fields = check.fields()
    # Both or neither: whoever compares them needs the pair. A lost session would repeat it in every read to
    # come, so it is written once.
    if with_state or (check.signature != OK and truth.is_first_defect()):
        fields |= {"state": dict(state), "expected": dict(check.expected)}
    return Judgement(check.signature, check.error, fields)


def _judge_text(answer: Answer, truth: SessionTruth) -> Judgement:
    """The record says that it was a read: the tool's name need not."""
    fields: dict[str, Any] = {"step": "read"}
    if not answer.ok or answer.result is None:
        return Judgement(answer.signature, answer.error, fields)
    state = truth.written_in(text_of(answer.result) + json.dumps(answer.payload, ensure_ascii=False))
    check = truth.check_state(state)
    return Judgement(check.signature, check.error, fields | check.fields())


def _judge_increment(step: Increment, answer: Answer, truth: SessionTruth) -> Judgement:
    fields: dict[str, Any] = {"key": step.key}
    if not answer.ok:
        return Judgement(answer.signature, answer.error, fields)
    payload = answer.payload
    value = next((payload[name] for name in _COUNTER_NAMES if isinstance(payload.get(name), int)), None)
    if value is None:
        return Judgement(UNCOUNTABLE, "the answer holds no whole number named value, counter or count", fields)
    name = payload.get("name")
    if isinstance(name, str) and name in (payload.get("state") or {}):
        truth.counter_name = name
    least, most = truth.counter_bounds
    signature = truth.check_counter(value)
    fields |= {"state": value, "expected": least, "replayed": payload.get("replayed") is True}
    bounds = f"{least}" if least == most else f"{least} to {most}"
    return Judgement(signature, "" if signature == OK else f"the counter is {value}, expected {bounds}", fields)


def _state_of(answer: Answer, with_state: bool) -> dict[str, Any]:
    state = answer.payload.get("state")
    return {"state": dict(state)} if with_state and isinstance(state, Mapping) else {}
