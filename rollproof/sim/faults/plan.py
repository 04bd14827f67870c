"""A fault that is planned: what, to whom, when and for how long, in one line.

    NAME [of WHOM] [PARAMETER=VALUE ...] at MOMENT [for SECONDS | until MOMENT]

    hang at target draining + 3 s for 30 s
    slow-responses of random delay_s=3 at warmed-up + 10 s until target draining
    redis-flush at deployment completed

MOMENT: moments.py; WHOM: victims.py. Without an end a fault lasts as long as the rehearsal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollproof.core.errors import UsageError
from rollproof.sim.faults.catalogue import find_fault
from rollproof.sim.faults.fault import Fault, Hits, value_of
from rollproof.sim.faults.moments import Moment, parse_moment, parse_seconds

_EXAMPLE = "e.g. --fault 'hang at target draining + 3 s for 30 s'; `rollproof faults` lists all"
_LINE = re.compile(r"^(?P<what>.*?)(?:\s+at\s+(?P<at>.*?))?(?:\s+(?P<word>for|until)\s+(?P<end>.*))?$")


@dataclass(frozen=True)
class PlannedFault:
    """`who`: "" is the fault's usual one. `for_s` and `until` exclude each other; with neither it does not end."""

    fault: Fault
    at: Moment
    who: str = ""
    for_s: float | None = None
    until: Moment | None = None

    @property
    def has_end(self) -> bool:
        return self.for_s is not None or self.until is not None

    @property
    def longest_s(self) -> float:
        """AWS seconds that are said in it."""
        ends_s = 0.0 if self.until is None else max(0.0, self.until.offset_s)
        return max(0.0, self.at.offset_s) + ends_s + (self.for_s or 0.0)

    def __str__(self) -> str:
        given = type(self.fault)()
        changed = [x for x in self.fault.told().split() if x not in given.told().split()]
        words = [self.fault.name, *([f"of {self.who}"] if self.who else []), *changed, f"at {self.at}"]
        words += [f"for {self.for_s:g} s"] if self.for_s is not None else []
        words += [f"until {self.until}"] if self.until is not None else []
        return " ".join(words)


def planned(
    fault: Fault | str, at: str, *, who: str = "", for_s: float | None = None, until: str = "", **parameters: Any
) -> PlannedFault:
    """One in Python: planned("hang", at="target draining + 3 s", for_s=30). Raises UsageError."""
    found = replace(fault, **parameters) if isinstance(fault, Fault) else find_fault(fault)(**parameters)
    return checked(PlannedFault(found, parse_moment(at), who, for_s, parse_moment(until) if until else None))


def parse_faults(lines: Sequence[str]) -> tuple[PlannedFault, ...]:
    return tuple(parse_fault(line) for line in lines)


def parse_fault(line: str) -> PlannedFault:
    """The fault that `line` plans. Raises UsageError, with what can be said instead."""
    found = _LINE.match(" ".join(line.split()))
    if found is None or not found["what"]:
        raise UsageError("a fault without a name", hint=_EXAMPLE)
    name, *rest = found["what"].split()
    kind = find_fault(name)
    if not found["at"]:
        raise UsageError(f"{line!r} does not say when", hint=f"e.g. {kind.example}")
    who, words = _who(line, rest)
    end = found["end"] or ""
    return checked(
        PlannedFault(
            kind(**_parameters(kind, words)),
            parse_moment(found["at"]),
            who,
            for_s=parse_seconds(end) if found["word"] == "for" else None,
            until=parse_moment(end) if found["word"] == "until" else None,
        )
    )


def _who(line: str, words: list[str]) -> tuple[str, list[str]]:
    if "of" not in words:
        return "", words
    place = words.index("of")
    if place + 1 >= len(words):
        raise UsageError(f"{line!r}: of whom?", hint=_EXAMPLE)
    return words[place + 1], words[:place] + words[place + 2 :]


def _parameters(kind: type[Fault], words: list[str]) -> dict[str, Any]:
    known, found = {x.name: x for x in kind.parameters()}, {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            listed = ", ".join(known) or "it has none"
            raise UsageError(f"{kind.name}: no parameter {name!r}", hint=f"its parameters: {listed}. {_EXAMPLE}")
        try:
            found[name] = value_of(known[name], value)
        except UsageError as error:
            raise UsageError(f"{kind.name}: {error.message}", hint=f"e.g. {kind.example}") from error
    return found


def checked(plan: PlannedFault) -> PlannedFault:
    """`plan`, if it can be played at all. Raises UsageError."""
    plan.fault.check()
    if plan.for_s is not None and plan.for_s <= 0:
        raise UsageError(f"{plan.fault.name}: for {plan.for_s:g} s is no time", hint="leave it out to let it last")
    if plan.for_s is not None and plan.until is not None:
        raise UsageError(f"{plan.fault.name}: `for` and `until` exclude each other", hint="leave one of them out")
    if plan.has_end and not plan.fault.can_end:
        raise UsageError(f"{plan.fault.name} happens once and has no end", hint="leave out `for` and `until`")
    if plan.who and plan.fault.hits in (Hits.REDIS, Hits.SERVICE):
        raise UsageError(f"{plan.fault.name} hits the whole {plan.fault.hits}", hint="leave `of ...` out")
    return plan
