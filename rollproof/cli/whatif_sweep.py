"""Combinations of knobs, each simulated with every seed: what `rollproof whatif` counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from rollproof.api.knobs import apply_overrides, apply_timing_overrides, split_overrides
from rollproof.api.overrides import find_knob
from rollproof.core.errors import UsageError
from rollproof.core.knob_table import Kind
from rollproof.core.settings import Settings
from rollproof.core.timing import Timing
from rollproof.core.validate import validate
from rollproof.sim.heap import COMES_UP, Clients, HeapResult, SessionsIn, simulate

MOST_TASKS, MOST_SESSIONS = 10_000, 1_000_000
OF_CLIENTS = ("sessions_in", "sessions", "call_interval_s")
Span = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """One combination: `varied` as it was asked for, and what follows from it."""

    varied: Mapping[str, str]
    settings: Settings
    timing: Timing
    clients: Clients


@dataclass(frozen=True)
class Row:
    """A case and its results, one a seed."""

    case: Case
    results: Sequence[HeapResult]

    def span(self, name: str) -> Span:
        """Least and most of a number over the seeds."""
        numbers = [getattr(x, name) for x in self.results]
        return min(numbers), max(numbers)

    def between(self, of: Callable[[HeapResult], Span | None]) -> Span | None:
        """From the earliest first to the latest last, over the seeds; None where it never came to that."""
        spans = [span for x in self.results if (span := of(x)) is not None]
        return (min(x[0] for x in spans), max(x[1] for x in spans)) if spans else None

    @property
    def ended(self) -> str:
        return ", ".join(sorted({x.ended for x in self.results}))

    def facts(self) -> dict[str, Any]:
        """For --json and --csv: numbers as `<name>_min` and `<name>_max` over the seeds, times as first and last."""
        found: dict[str, Any] = {**self.case.varied, "seeds": len(self.results)}
        found |= {"sessions": self.case.clients.count, "sessions_in": self.case.clients.lives.value}
        for name in ("survived", "degraded", "lost", "calls", "failed_calls", "streams_cut"):
            found[f"{name}_min"], found[f"{name}_max"] = self.span(name)
        for name, of in TIMES.items():
            found[f"{name}_first_s"], found[f"{name}_last_s"] = _rounded(self.between(of))
        found["duration_min_s"], found["duration_max_s"] = _rounded(self.span("duration_s"))
        return found | {"ended": self.ended}


def moves(result: HeapResult) -> Span | None:
    """First and last call that another target answered, or that showed a loss."""
    spans = [x for x in (result.moved_between, result.lost_between) if x is not None]
    return (min(x[0] for x in spans), max(x[1] for x in spans)) if spans else None


TIMES: Mapping[str, Callable[[HeapResult], Span | None]] = {
    "sessions_move": moves,
    "draining": lambda x: x.moments.draining,
    "streams_cut": lambda x: x.streams_cut_between,
    "sigterm": lambda x: x.moments.sigterm,
    "sigkill": lambda x: x.moments.sigkill,
}


def _rounded(span: Span | None) -> tuple[float | None, float | None]:
    return (None, None) if span is None else (round(span[0], 3), round(span[1], 3))


# --- what is varied --------------------------------------------------------------------------------------------------


def varied(given: Sequence[str]) -> dict[str, list[str]]:
    """KNOB=A,B,C of each flag. Raises UsageError for what is no knob, is given twice, or has no values."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_") if name.strip().replace("-", "_") in OF_CLIENTS else name.strip()
        split = [value.strip() for value in values.split(",")]
        if not (name and equals and all(split)):
            raise UsageError(f"--vary {text!r} is not KNOB=VALUE,VALUE", hint="e.g. --vary desired_count=1,2,10")
        if name in found:
            raise UsageError(f"--vary {name} is given twice", hint="put all its values into one: KNOB=A,B,C")
        if _is_list(name):
            raise UsageError(f"--vary {name}: its value is a list itself", hint="set it with --set, and vary others")
        found[name] = list(dict.fromkeys(split))
    return found


def _is_list(name: str) -> bool:
    settings, _ = split_overrides({name: ""})
    is_knob = name not in OF_CLIENTS and settings and not name.startswith("environment.")
    return bool(is_knob) and find_knob(name).kind is Kind.LIST


def cases(settings: Settings, timing: Timing, clients: Clients, vary: Mapping[str, list[str]]) -> list[Case]:
    """Every combination, the last knob turning quickest. Raises UsageError naming the one that AWS would refuse."""
    found: list[Case] = []
    for values in product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        try:
            found.append(_case(settings, timing, clients, chosen))
        except UsageError as error:
            case = " ".join(f"{name}={value}" for name, value in chosen.items())
            raise type(error)(f"{case}: {error.message}" if case else error.message, hint=error.hint) from error
    return found


def _case(settings: Settings, timing: Timing, clients: Clients, chosen: Mapping[str, str]) -> Case:
    ours = {name: value for name, value in chosen.items() if name not in OF_CLIENTS}
    knobs, timings = split_overrides(ours)
    settings = apply_overrides(settings, knobs, source="--vary")
    validate(settings)
    for name in set(chosen) & set(OF_CLIENTS):
        clients = _with_client(clients, name, chosen[name])
    check_size(settings, clients)
    return Case(chosen, settings, apply_timing_overrides(timing, timings), clients)


def _with_client(clients: Clients, name: str, text: str) -> Clients:
    try:
        match name:
            case "sessions_in":
                return replace(clients, lives=SessionsIn(text))
            case "sessions":
                return replace(clients, count=int(text))
            case _:
                return replace(clients, call_interval_s=float(text))
    except ValueError as error:
        kinds = f"one of {', '.join(SessionsIn)}" if name == "sessions_in" else "a number"
        raise UsageError(f"{name} {text!r} is not {kinds}") from error


def check_size(settings: Settings, clients: Clients) -> None:
    desired = settings.service.desired_count
    if not 1 <= desired <= MOST_TASKS:
        raise UsageError(f"a desired count of {desired} is out of range", hint=f"1 to {MOST_TASKS} tasks")
    if not 1 <= clients.count <= MOST_SESSIONS:
        raise UsageError(f"{clients.count} sessions are out of range", hint=f"1 to {MOST_SESSIONS}")
    if not 0.1 <= clients.call_interval_s <= 3600:
        raise UsageError(f"an interval of {clients.call_interval_s:g} s is out of range", hint="0.1 to 3600 s")


# --- playing ---------------------------------------------------------------------------------------------------------


def play(planned: Sequence[Case], seeds: range, follow: Callable[[int, float], None]) -> Iterator[Row]:
    """A row a case. `follow` is told which rollout it is, from 0, and its virtual seconds."""
    for place, case in enumerate(planned):
        results = []
        for number, seed in enumerate(seeds):
            which = place * len(seeds) + number
            results.append(_simulate(case, seed, partial(follow, which)))
        yield Row(case, results)


def _simulate(case: Case, seed: int, follow: Callable[[float], None]) -> HeapResult:
    follow(COMES_UP)
    return simulate(case.settings, timing=case.timing, seed=seed, clients=case.clients, follow=follow)
