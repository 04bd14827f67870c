"""The ground truth of one session, kept at the client: what must be there, what may be, what must not. Pure.

- A value whose write was acknowledged must be read back (Jepsen's set checker: acknowledged <= read <= attempted).
- A value whose write failed or was never answered may be there.
- Increments: `acknowledged <= counter <= acknowledged + unknown`. Worked example: 10 acknowledged, 1 cut by a 502.
  10 or 11 is right; 9 lost one; 12 applied one twice.

A loss stays a loss: once acknowledged, a value is missed in every later read. A double application is an event: it
is reported where it shows first, and then counted as the new base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollproof.probe.answer import OK, Outcome

STATE_MISSING = "state-missing"
STATE_WRONG = "state-wrong"
STATE_FOREIGN = "state-foreign"
APPLIED_TWICE = "applied-twice"

KEY_PREFIX = "seq_"
_SHOWN = 10  # keys named in a record


@dataclass(frozen=True)
class StateCheck:
    """What a read showed. `expected` are the values that must be there; the tuples name keys, in order."""

    expected: Mapping[str, str | int]
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()  # this session never wrote them: somebody else's state
    counter: str = OK  # signature of the counter in the state

    @property
    def signature(self) -> str:
        if self.missing:
            return STATE_MISSING
        if self.wrong:
            return STATE_WRONG
        return STATE_FOREIGN if self.foreign else self.counter

    @property
    def error(self) -> str:
        found = {"acknowledged and gone": self.missing, "changed": self.wrong, "not ours": self.foreign}
        parts = []
        for what, keys in found.items():
            if keys:
                more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
                parts.append(f"{len(keys)} {what}: {', '.join(keys[:_SHOWN])}{more}")
        if self.counter != OK and not parts:
            parts.append("the counter is not what the increments add up to")
        return "; ".join(parts)

    def fields(self) -> dict[str, Any]:
        """For a record: the first keys of each class, and how many there are."""
        found: dict[str, Any] = {"expected_size": len(self.expected)}
        for name in ("missing", "wrong", "foreign"):
            keys: tuple[str, ...] = getattr(self, name)
            if keys:
                found[name] = list(keys[:_SHOWN])
                found[f"{name}_count"] = len(keys)
        return found


class SessionTruth:
    """Told of every write's outcome; asked about every read."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, str] = {}
        self._attempted: dict[str, str] = {}
        self._counted: set[str] = set()  # increments by key: acknowledged
        self._unsure: set[str] = set()
        self.counter_name = ""  # under which the state shows the counter, if it does
        self._excess = 0  # already reported as applied twice
        self._is_defective = False

    def wrote(self, key: str, value: str, outcome: Outcome) -> None:
        self._attempted[key] = value
        if outcome is Outcome.ACKNOWLEDGED:
            self._acknowledged[key] = value

    def check_state(self, state: Mapping[str, Any]) -> StateCheck:
        missing = tuple(key for key in self._acknowledged if key not in state)
        wrong = tuple(key for key in state if key in self._attempted and str(state[key]) != self._attempted[key])
        foreign = tuple(key for key in state if key.startswith(KEY_PREFIX) and key not in self._attempted)
        expected: dict[str, str | int] = dict(self._acknowledged)
        counter = OK
        if self.counter_name:
            expected[self.counter_name], _ = self.counter_bounds
            shown = state.get(self.counter_name, 0)
            counter = self.check_counter(shown if isinstance(shown, int) else 0)
        return StateCheck(expected, missing, wrong, foreign, counter)

    def written_in(self, text: str) -> dict[str, str]:
        """Of all that was written, what stands in `text`, by key."""
        return {key: value for key, value in self._attempted.items() if value in text}

    def is_first_defect(self) -> bool:
        """True once."""
        is_first, self._is_defective = not self._is_defective, True
        return is_first

    def incremented(self, key: str, outcome: Outcome) -> None:
        """Repeating an increment under one key counts once."""
        if outcome is Outcome.ACKNOWLEDGED:
            self._counted.add(key)
            self._unsure.discard(key)
        elif outcome is Outcome.UNKNOWN and key not in self._counted:
            self._unsure.add(key)

    @property
    def counter_bounds(self) -> tuple[int, int]:
        """The least and the most that the counter may show, inclusive."""
        least = len(self._counted) + self._excess
        return least, least + len(self._unsure)

    def check_counter(self, value: int) -> str:
        """Signature of a counter that an acknowledged increment returned, or that the state showed."""
        least, most = self.counter_bounds
        if value < least:
            return STATE_MISSING
        if value > most:
            self._excess += value - most
            return APPLIED_TWICE
        return OK
