"""A prediction for a terminal, and for programs: waves in tables, their meaning in sentences, the traps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollproof.prediction.predict import Moment, PredictedWave, Prediction
from rollproof.prediction.words import Fate, sentences, traps
from rollproof.report.terminal import Page
from rollproof.verdict.steps import OBEYED, SIGKILL, UNUSED
from rollproof.verdict.waves import WaveKind
from rollproof.verdict.words import count, span

SHOWN_WAVES = 6
ASSUMED = (
    "Predicted: the sum of the steps, from the least to the most that each takes. Simulated: one run of the rules in"
    " virtual time. Both have servers that answer their health check as soon as their container is up; a slower start"
    " moves all that follows it by as much. `rollproof knobs` lists every timing with its source;"
    " docs/experiment.md plays a published experiment both ways, with and without sticky_overrides_drain."
)


def prediction_json(prediction: Prediction, fate: Fate) -> dict[str, Any]:
    """The same facts as the page. A waiter that gives up has null for the poll at which it would return."""
    service = prediction.settings.service
    return {
        "desired_count": service.desired_count,
        "minimum_healthy_percent": service.minimum_healthy_percent,
        "maximum_percent": service.maximum_percent,
        "floor": prediction.floor,
        "ceiling": prediction.ceiling,
        "is_stuck": prediction.is_stuck,
        "sessions_move_with": prediction.moves_with if prediction.stops() else None,
        "sessions_move_s": prediction.span(prediction.moves_with),
        "streams_cut_s": prediction.span(UNUSED),
        "sessions": fate.value,
        "waves": [_wave_json(wave) for wave in prediction.waves],
        "completed": _moment_json(prediction.completed),
        "services_stable": _moment_json(prediction.stable),
        "gaps_s": prediction.gaps_s,
        "sentences": sentences(prediction, fate),
        "traps": traps(prediction),
    }


def render_prediction(prediction: Prediction, fate: Fate, *, console: Console, verbose: bool = False) -> None:
    """Print the page. `verbose`: every wave, and where each step's range comes from."""
    page = Page(console)
    page.line(Text(_headline(prediction), style="bold"))
    for sentence in sentences(prediction, fate):
        page.line(Text(sentence))
    for warning in traps(prediction):
        page.line(Text.assemble(("note: ", "yellow"), warning))
    waves = prediction.waves
    skipped = 0 if verbose or len(waves) <= SHOWN_WAVES else len(waves) - SHOWN_WAVES
    head = waves[: SHOWN_WAVES // 2] if skipped else waves
    for wave in head:
        page.section(_title(wave), _table(wave.moments, prediction, verbose))
    if skipped:
        page.section(f"... {count(skipped, 'more wave')} like these (--verbose shows them)")
        for wave in waves[-(SHOWN_WAVES // 2) :]:
            page.section(_title(wave), _table(wave.moments, prediction, verbose))
    ends = [moment for moment in (prediction.completed, prediction.stable) if moment is not None]
    if ends:
        page.section("The end", _table(ends, prediction, verbose))
    if prediction.waves and not prediction.is_stuck:
        page.line("")
        page.line(Text(ASSUMED, style="dim"))


def _headline(prediction: Prediction) -> str:
    service = prediction.settings.service
    percents = f"{service.minimum_healthy_percent}/{service.maximum_percent} %"
    return (
        f"A rolling deployment of {count(service.desired_count, 'task')} at {percents}"
        f" (floor {prediction.floor}, ceiling {prediction.ceiling}), in AWS seconds after UpdateService"
    )


def _title(wave: PredictedWave) -> str:
    tasks = f"{count(wave.tasks, 'new task')} start" if wave.kind is WaveKind.STARTS else count(wave.tasks, "old task")
    verb = ("s" if wave.tasks == 1 else "") if wave.kind is WaveKind.STARTS else " stopped"
    cause = f"after {wave.after} of wave {wave.follows}" if wave.follows else "from the trigger on"
    return f"Wave {wave.number}: {tasks}{verb}, {cause}"


def _table(moments: Sequence[Moment], prediction: Prediction, verbose: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for number, title in enumerate(("step", "predicted", "simulated", "source", "")):
        justify: Literal["left", "right"] = "right" if number in (1, 2) else "left"
        table.add_column(title, overflow="fold", justify=justify, no_wrap=number < 3)
    for moment in moments:
        why = f"{moment.mark}: {moment.source}" if verbose else moment.mark
        meaning = _meaning(moment, prediction)
        table.add_row(moment.name, _predicted(moment), _simulated(moment), why, Text(meaning, style="bold"))
    return table


def _meaning(moment: Moment, prediction: Prediction) -> str:
    met = []
    if moment.name == prediction.moves_with and moment.name in (OBEYED, UNUSED):
        is_bound = prediction.settings.target_group.stickiness.enabled
        met.append("sessions move" if is_bound else "no more requests")
    if moment.name == UNUSED:
        met.append("streams cut, requests in flight get 502")
    if moment.name == SIGKILL:
        met.append("if it still runs")
    return "; ".join(met)


def _predicted(moment: Moment) -> str:
    low, high = moment.earliest_s, moment.latest_s
    if low is None or high is None:
        return ""
    if low == inf:
        return "gives up"
    return f"{low:.1f}..gives up" if high == inf else span((low, high))


def _simulated(moment: Moment) -> str:
    if moment.simulated_s:
        return span(moment.simulated_s)
    return "not needed" if moment.name == SIGKILL else ""


def _wave_json(wave: PredictedWave) -> dict[str, Any]:
    return asdict(wave) | {"kind": wave.kind.value, "moments": [_moment_json(moment) for moment in wave.moments]}


def _moment_json(moment: Moment | None) -> dict[str, Any] | None:
    if moment is None:
        return None
    return {name: None if value == inf else value for name, value in asdict(moment).items()}
