"""Is a session's state what its own acknowledged writes made it? Complete, and nothing applied twice.

`expected` is what the client's acknowledged calls add up to. A call whose answer never came may or may not
have been applied, so each of them widens what is allowed by one: with 13 acknowledged increments and one
unacknowledged, a counter of 13 or 14 is right, 12 lost one, 15 applied one twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rollproof.verdict.records import Call
from rollproof.verdict.words import some


class DefectKind(StrEnum):
    INCOMPLETE = "state incomplete"
    TWICE = "applied twice"
    WRONG = "state differs"
    FOREIGN = "state of another session"


SIGNATURES = {
    "state-missing": DefectKind.INCOMPLETE,
    "state-wrong": DefectKind.WRONG,
    "state-foreign": DefectKind.FOREIGN,
    "applied-twice": DefectKind.TWICE,
}
"""What a probe that keeps the truth itself says of a read (rollproof.probe.checker); its word is taken."""


@dataclass(frozen=True)
class Defect:
    """What is wrong with a state that was read, and the call that read it."""

    kind: DefectKind
    text: str
    call: Call

    @property
    def signature(self) -> str:
        return f"{self.kind}: {self.text}"


def defects_of(calls: Sequence[Call]) -> list[Defect]:
    """The first defect of each kind in one session's answered calls, in order.

    A probe's own signature decides; `state` and `expected` are compared only for a client that gives none.
    """
    found: dict[DefectKind, Defect] = {}
    acknowledged = {call.key for call in calls if call.ok and call.key}
    unsure = 0
    for call in calls:
        if call.is_unacknowledged and call.key not in acknowledged:
            unsure += 1
        for kind, text in _defects(call, unsure):
            found.setdefault(kind, Defect(kind, text, call))
    return list(found.values())


def _defects(call: Call, unsure: int) -> list[tuple[DefectKind, str]]:
    if call.signature:
        kind = SIGNATURES.get(call.signature)
        return [(kind, call.error or call.signature)] if kind else []
    if call.http_status != 200 or call.rpc_code is not None or call.expected is None or call.state is None:
        return []
    return _compare("state", call.state, call.expected, unsure)


def _compare(name: str, state: Any, expected: Any, allowed: int) -> list[tuple[DefectKind, str]]:
    if _is_count(state) and _is_count(expected):
        if state < expected:
            return [(DefectKind.INCOMPLETE, f"{name} is {state}, expected {expected}")]
        if state > expected + allowed:
            return [(DefectKind.TWICE, f"{name} is {state}, expected {expected}")]
        return []
    if isinstance(state, Mapping) and isinstance(expected, Mapping):
        missing = [str(key) for key in expected if key not in state]
        lost = [(DefectKind.INCOMPLETE, f"{some(missing)} missing of {len(expected)}")] if missing else []
        shared = [key for key in expected if key in state]
        return lost + [found for key in shared for found in _compare(str(key), state[key], expected[key], allowed)]
    if state != expected and not allowed:
        return [(DefectKind.WRONG, f"{name} is {state!r}, expected {expected!r}")]
    return []


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
