"""Two runs side by side: the verdicts, the steps with their offsets, the differences, and one line that says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollproof.report.terminal import CHECK_WORDS, COLOURS, Page, plain
from rollproof.verdict.comparison_model import Comparison, Difference, Offset, RunFacts, SettingPair
from rollproof.verdict.model import Outcome
from rollproof.verdict.steps import AWS_SECONDS
from rollproof.verdict.words import count, span

NAMED = ("stage", "balancer", "strategy", "disruption_name")
NUMBERED = ("speed", "seed")


def render_comparison(comparison: Comparison, *, console: Console, names: tuple[str, str] = ("", "")) -> None:
    """Print it. `names`: what the runs are called, e.g. their directories."""
    out, sides = Page(console), (comparison.a, comparison.b)
    for letter, name, facts in zip("AB", names, sides, strict=True):
        out.line(
            Text.assemble((letter, "bold"), f"  {'  '.join(part for part in (rehearsal_of(facts), name) if part)}")
        )
    out.section("Verdicts", _verdicts(*sides))
    if comparison.settings:
        out.section("Settings that differ, durations in AWS seconds", _settings(comparison.settings))
    for title, is_event in (("Service events", True), ("Steps of the reference timeline", False)):
        offsets = [offset for offset in comparison.offsets if offset.is_event is is_event]
        if offsets:
            out.section(f"{title}: AWS seconds after the step named", _offsets(offsets))
    if comparison.differences:
        out.section("Differences", _differences(comparison.differences))
    out.line("")
    out.line(Text(conclusion(comparison), COLOURS[comparison.outcome]))


def conclusion(comparison: Comparison) -> str:
    """`same story`, `2 differences`, or why there was nothing to compare."""
    if comparison.unproved:
        return f"nothing to compare: {comparison.unproved}"
    return "same story" if comparison.is_same else count(len(comparison.differences), "difference")


def rehearsal_of(facts: RunFacts) -> str:
    """`local, nginx, memory, rolling, speed 10, seed 1`: the settings that say which rehearsal it was."""
    told = [str(facts.settings.get(name) or "") for name in NAMED]
    told += [
        f"{name} {facts.settings[name]:g}" for name in NUMBERED if isinstance(facts.settings.get(name), int | float)
    ]
    return ", ".join(word for word in told if word)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A JSON-ready dict of the same facts, and the whole stories."""
    facts = asdict(comparison)
    return {
        "comparison": comparison.outcome.value,
        "exit_code": comparison.outcome.exit_code,
        "is_same": comparison.is_same,
        "conclusion": conclusion(comparison),
        "settings": facts["settings"],
        "differences": facts["differences"],
        "offsets": [_offset_json(offset) for offset in comparison.offsets],
        "a": facts["a"],
        "b": facts["b"],
    }


def _offset_json(offset: Offset) -> dict[str, Any]:
    return {**asdict(offset), "difference_s": offset.difference_s, "is_within": offset.is_within}


def _verdicts(a: RunFacts, b: RunFacts) -> Table:
    """What is judged, then what is only shown."""
    table = _table("", "A", "B")

    def row(name: str, told: Callable[[RunFacts], str | Text]) -> None:
        table.add_row(name, *(Text(said) if isinstance(said := told(facts), str) else said for facts in (a, b)))

    row("verdict", lambda facts: Text(facts.outcome.value, COLOURS[facts.outcome]))
    row("why", lambda facts: facts.why)
    row("sessions", lambda facts: ", ".join(f"{number} {fate.value}" for fate, number in facts.sessions.items()))
    row("first failures", lambda facts: ", ".join(facts.signatures) or "none")
    row("findings", lambda facts: ", ".join(facts.findings) or "none")
    for name in sorted({*a.checks, *b.checks}):
        if a.checks.get(name) is not b.checks.get(name):
            row(f"check {name}", partial(_check, name))
    return table


def _check(name: str, facts: RunFacts) -> str:
    return CHECK_WORDS[facts.checks.get(name, Outcome.UNKNOWN)]


def _settings(settings: Sequence[SettingPair]) -> Table:
    table = _table("", "A", "B")
    for setting in settings:
        table.add_row(setting.name, *(Text("-" if value is None else plain(value)) for value in (setting.a, setting.b)))
    return table


def _offsets(offsets: Sequence[Offset]) -> Table:
    table = _table("step", "after", "A", "B", "apart", "allowed", "", numbers=(2, 3, 4, 5))
    for offset in offsets:
        unit = "" if offset.unit == AWS_SECONDS else " real"
        status = Text("ok", "green") if offset.is_within else Text("APART", "red")
        numbers = (span(offset.a_s), span(offset.b_s), span((offset.difference_s,)), span((offset.allowed_s,)))
        table.add_row(Text(offset.name), Text(offset.after), *(number + unit for number in numbers), status)
    return table


def _differences(differences: Sequence[Difference]) -> Table:
    table = _table("", "", "t in A", "t in B", numbers=(2, 3))
    for difference in differences:
        points = (f"{t:.1f} s" if t is not None else "-" for t in (difference.t_a, difference.t_b))
        table.add_row(Text(difference.kind.value, "red"), Text(difference.text), *points)
    return table


def _table(*titles: str, numbers: Sequence[int] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        table.add_column(title, overflow="fold", justify="right" if number in numbers else "left")
    return table
