"""Modelled clients: where their sessions live, how often they call, and what became of each."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import isnan, nan


class SessionsIn(StrEnum):
    """Where a session lives; beside each the strategies of docs/strategies.md that behave so."""

    MEMORY = "memory"  # of the task that began it: lost elsewhere (memory, redis-state)
    REDIS = "redis"  # any task serves it (stateless, stateless-minted, durable, modern-handles, resilient)
    CLIENT = "client"  # of a task, but its client begins anew elsewhere and repeats all it had done (idempotent)


class Fate(IntEnum):
    """As the verdict has it: every call answered; recovered by itself after failed calls; over."""

    SURVIVED = 0
    DEGRADED = 1
    LOST = 2


@dataclass(frozen=True)
class Clients:
    """A session makes a call every `call_interval_s`, each answered after `answer_s`, on a connection to one load
    balancer node; with `streams` it also holds a GET stream open. A lost session makes no further calls."""

    count: int = 20
    call_interval_s: float = 2.0
    lives: SessionsIn = SessionsIn.MEMORY
    answer_s: float = 0.05
    streams: bool = True


@dataclass(frozen=True)
class SessionOutcome:
    """Of one session: `at` is its first failed call, in seconds from the deployment."""

    number: int
    fate: Fate
    at: float | None
    cause: str


@dataclass
class Outcomes:
    """What became of all sessions. Times are the heap world's."""

    count: int
    fates: bytearray = field(init=False)
    failed_at: array[float] = field(init=False)  # nan: no call failed
    lost_at: array[float] = field(init=False)  # nan: it goes on
    causes: list[str] = field(default_factory=lambda: [""])
    failed_calls: int = 0
    moves: array[float] = field(default_factory=lambda: array("d"))  # calls that another target answered than before
    streams_cut: Counter[float] = field(default_factory=Counter)  # by time
    _cause_of: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.fates = bytearray(self.count)
        self._cause_of = bytearray(self.count)
        self.failed_at = array("d", [nan]) * self.count
        self.lost_at = array("d", [nan]) * self.count

    def fail(self, number: int, at: float, cause: str, fate: Fate) -> None:
        """One call failed. The first that shows a loss is its time; the cause is that of the worst."""
        self.failed_calls += 1
        if fate <= self.fates[number]:
            return
        if cause not in self.causes:
            self.causes.append(cause)
        if isnan(self.failed_at[number]):
            self.failed_at[number] = at
        if fate is Fate.LOST:
            self.lost_at[number] = at
        self.fates[number] = fate
        self._cause_of[number] = self.causes.index(cause)

    def session(self, number: int, zero: float) -> SessionOutcome:
        at = self.failed_at[number]
        cause = self.causes[self._cause_of[number]]
        return SessionOutcome(number, Fate(self.fates[number]), None if isnan(at) else at - zero, cause)

    def total(self, fate: Fate) -> int:
        return self.fates.count(fate)

    def lost_because(self) -> Counter[str]:
        pairs = Counter(zip(self.fates, self._cause_of, strict=True))
        return Counter({self.causes[cause]: n for (fate, cause), n in pairs.items() if fate == Fate.LOST})

    def lost_between(self) -> tuple[float, float] | None:
        lost = [at for at in self.lost_at if not isnan(at)]
        return (min(lost), max(lost)) if lost else None
