"""Who is due when: an index, so that a turn costs what is due and not what is there."""

from __future__ import annotations

import heapq
from enum import IntEnum
from math import inf


class Kind(IntEnum):
    """Tasks come before targets where both are due, as in `core.decide`."""

    TASK = 0
    TARGET = 1


class Agenda:
    """The next due time of each task and target. Those due together come out as they were first put."""

    def __init__(self) -> None:
        self._due: dict[tuple[Kind, str], float] = {}
        self._places: dict[tuple[Kind, str], int] = {}
        self._heap: list[tuple[float, Kind, int, str]] = []

    def copy(self) -> Agenda:
        other = Agenda()
        other._due, other._places, other._heap = dict(self._due), dict(self._places), list(self._heap)
        return other

    def put(self, kind: Kind, key: str, at: float) -> None:
        """`at` inf: nothing to come."""
        entry = (kind, key)
        if self._due.get(entry, inf) == at:
            self._places.setdefault(entry, len(self._places))
            return
        place = self._places.setdefault(entry, len(self._places))
        if at == inf:
            del self._due[entry]
        else:
            self._due[entry] = at
            heapq.heappush(self._heap, (at, kind, place, key))

    def next_at(self) -> float:
        heap = self._heap
        while heap and self._due.get((heap[0][1], heap[0][3])) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def take(self, now: float) -> tuple[list[str], list[str]]:
        """(tasks, targets) that are due at `now`; they have to be put again."""
        found = set()
        while self.next_at() <= now:
            _, kind, place, key = heapq.heappop(self._heap)
            if self._due.pop((kind, key), None) is not None:
                found.add((kind, place, key))
        ordered = sorted(found)
        return [key for kind, _, key in ordered if kind is Kind.TASK], [
            key for kind, _, key in ordered if kind is Kind.TARGET
        ]
