"""The terminal report: verdict, what broke first, the rollout, the sessions, findings, replay, next.

Colour only where the console is a terminal; in a pipe it is plain text. Every paragraph wraps at the console's
width, so 80 columns read as well as 100.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rollproof.report.activities_table import activities_table
from rollproof.report.next_step import next_command
from rollproof.report.timeline_tables import cliff_table, timeline_table
from rollproof.verdict import Check, Finding, Knob, Line, Outcome, SessionOutcome, SessionVerdict, Verdict
from rollproof.verdict.words import count

COLOURS = {Outcome.PASS: "bold green", Outcome.FAIL: "bold red", Outcome.UNKNOWN: "bold yellow"}
LOST_LIMIT = 5
CHECK_WORDS = {Outcome.PASS: "ok", Outcome.FAIL: "BROKEN", Outcome.UNKNOWN: "not seen"}


def render_terminal(verdict: Verdict, *, console: Console, verbose: bool = False, next_line: str = "") -> None:
    """Print the report. `verbose`: every session and every replaced task; `next_line` replaces the usual advice."""
    out = Page(console)
    _headline(out, verdict)
    if verdict.around_break:
        out.section("What broke first", _around(verdict.around_break))
    if verdict.steps:
        out.section("The rollout beside the reference timeline", timeline_table(verdict.steps))
    if verdict.cliffs:
        out.section("The cliff: AWS seconds after the trigger", cliff_table(verdict.cliffs, verbose))
    if verdict.sessions:
        out.section(f"Sessions: {_fates(verdict)}", *_by_era(verdict), _sessions(verdict, verbose))
    if verdict.activities:
        out.section("Activities: what sessions do besides calling tools", activities_table(verdict.activities))
    if verdict.findings:
        out.section("Findings", *map(_finding, verdict.findings))
    out.section("Safety", _checks(verdict.checks, verbose))
    if verdict.what_ifs:
        out.section(f"What if: settings that differ from the template{_as_used(verdict)}", _knobs(verdict.what_ifs))
    if verdict.behaviours:
        out.section(f"Not documented by AWS, and set to{_as_used(verdict)}", _knobs(verdict.behaviours))
    _ending(out, verdict, next_line or next_command(verdict))


class Page:
    """Sections with a blank line before each. No markup, no highlighting, and no blanks at the end of a line."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, part: RenderableType) -> None:
        for segments in self._console.render_lines(part, pad=False):
            text = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
            text.rstrip()
            self._console.print(text, highlight=False, soft_wrap=True)

    def section(self, title: str, *parts: RenderableType) -> None:
        self.line("")
        self.line(Text(title, style="bold"))
        for part in parts:
            self.line(Padding(part, (0, 0, 0, 2)))


def _headline(out: Page, verdict: Verdict) -> None:
    tasks = f"{count(len(verdict.replaced_tasks), 'task')} replaced"
    speed = f", speed {verdict.speed:g}" if verdict.speed != 1 else ""
    facts = f"  {_fates(verdict)}; {tasks} ({verdict.disruption}{speed})" if verdict.sessions else ""
    out.line(Text.assemble((verdict.outcome.value.upper(), COLOURS[verdict.outcome]), facts))
    out.line(Text(verdict.why))
    for reason in verdict.reasons[1:]:
        out.line(Text(f"also: {reason}"))
    if verdict.unusable_records:
        out.line(Text(f"note: {count(verdict.unusable_records, 'record')} of the history could not be used"))


def _fates(verdict: Verdict) -> str:
    return ", ".join(f"{len(verdict.of(outcome))} {outcome.value}" for outcome in SessionOutcome)


def _by_era(verdict: Verdict) -> list[Text]:
    """Only where both were there."""
    eras = verdict.counts_by_era
    told = (f"{era}: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()) for era, counts in eras.items())
    return [Text(line) for line in told] if len(eras) > 1 else []


def _around(lines: Iterable[Line]) -> Table:
    table = _grid(3)
    for line in lines:
        style = "bold red" if line.is_break else ""
        table.add_row(Text(">" if line.is_break else "", style), Text(f"{line.t:.1f} s", style), Text(line.text, style))
    table.columns[1].justify = "right"
    return table


def _sessions(verdict: Verdict, verbose: bool) -> Table:
    table = _grid(3)
    lost = sorted(verdict.of(SessionOutcome.LOST), key=lambda s: s.first_failure.t if s.first_failure else 0.0)
    shown = lost if verbose else lost[:LOST_LIMIT]
    for session in shown:
        _row(table, "lost", session.session, session.cause, "red")
    if len(shown) < len(lost):
        _row(table, "", "...", f"and {len(lost) - len(shown)} more lost, in summary.json", "")
    for session in verdict.of(SessionOutcome.DEGRADED)[: None if verbose else LOST_LIMIT]:
        text = f"{session.failed_calls} of {session.calls} calls failed, for {session.failing_for_s:.1f} s; "
        text += session.cause
        _row(table, "degraded", session.session, text, "yellow")
    survived = verdict.of(SessionOutcome.SURVIVED)
    for session in survived if verbose else ():
        _row(table, "survived", session.session, _survival((session,)), "green")
    if survived and not verbose:
        _row(table, "survived", f"{len(survived)}", _survival(survived), "green")
    return table


def _survival(sessions: Sequence[SessionVerdict]) -> str:
    calls, moves = sum(s.calls for s in sessions), sum(len(s.moves) for s in sessions)
    return f"{count(calls, 'call')} answered, {count(moves, 'move')} between tasks"


def _finding(finding: Finding) -> Table:
    table = _grid(1)
    table.add_row(Text(finding.title, style="bold"))
    table.add_row(Padding(Text(finding.text), (0, 0, 0, 2)))
    return table


def _checks(checks: Sequence[Check], verbose: bool) -> Table:
    table = _grid(2)
    for check in checks:
        told = f"{check.title}: {check.text}" if verbose or check.outcome is Outcome.FAIL else check.title
        table.add_row(Text(CHECK_WORDS[check.outcome], COLOURS[check.outcome]), Text(told))
    return table


def _knobs(knobs: Iterable[Knob]) -> Table:
    table = _grid(2)
    for knob in knobs:
        instead = f" (template: {knob.template_value})" if knob.template_value is not None else ""
        why = ": ".join(word for word in (knob.mark, knob.source) if word)
        table.add_row(Text(f"{knob.name} = {plain(knob.value)}{instead}"), Text(why, style="dim"))
    return table


def _as_used(verdict: Verdict) -> str:
    return "" if verdict.speed == 1 else f" (durations as used, in real seconds: AWS's divided by {verdict.speed:g})"


def plain(value: object) -> str:
    """Settings as one would type them: true, 12, 1.5."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ending(out: Page, verdict: Verdict, next_line: str) -> None:
    replay = verdict.replay
    if replay.command or replay.seed is not None:
        seed = f"  # seed {replay.seed}" if replay.seed is not None else ""
        out.section("Replay", Text(f"{replay.command or 'rollproof rehearse'}{seed}"))
    out.line("")
    out.line(Text.assemble(("next: ", "bold"), next_line))


def _row(table: Table, fate: str, session: str, text: str, style: str) -> None:
    table.add_row(Text(fate, style), Text(session), Text(text))


def _grid(columns: int) -> Table:
    """Left-aligned columns without lines; all but the last keep their words whole where there is room."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for number in range(columns):
        table.add_column(no_wrap=columns > 2 and number < columns - 1, overflow="fold")
    return table
