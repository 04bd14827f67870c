"""What a rollout came to, for assertions: three counts, the verdict, and the timeline."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from rollproof.history import read_history
from rollproof.testing.rollouts.replay import Commands
from rollproof.verdict.chronicle import chronicle_of
from rollproof.verdict.model import Line, Outcome, SessionOutcome, SessionVerdict, Verdict


class SessionCount(int):
    """A number of sessions, and which they were: `result.sessions_lost == 0`, `result.sessions_lost.sessions`."""

    rollout: RolloutResult
    fate: SessionOutcome

    @classmethod
    def of(cls, rollout: RolloutResult, fate: SessionOutcome) -> Self:
        made = cls(len(rollout.verdict.of(fate)))
        made.rollout, made.fate = rollout, fate
        return made

    @property
    def sessions(self) -> tuple[SessionVerdict, ...]:
        return self.rollout.verdict.of(self.fate)


class Timeline:
    """What happened to the service, and which calls failed: `print(result.timeline)`."""

    def __init__(self, lines: tuple[Line, ...]) -> None:
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(line_text(line) for line in self.lines)

    def __contains__(self, words: str) -> bool:
        return any(words in line.text for line in self.lines)

    def __len__(self) -> int:
        return len(self.lines)


def line_text(line: Line) -> str:
    """One line, with the first failure marked."""
    return f"{'>' if line.is_break else ' '} {line.t:7.1f} s  {line.text}"


class RolloutResult:
    """`verdict` is the whole of it; `run_dir` holds its history, its access log and the logs of its tasks."""

    def __init__(self, verdict: Verdict, run_dir: Path, *, commands: Commands, test: str) -> None:
        self.verdict, self.run_dir = verdict, run_dir
        self.commands = commands
        self.test = test
        self.is_told = False  # its story has been printed

    @property
    def outcome(self) -> Outcome:
        """PASS, FAIL, or UNKNOWN: nothing was lost, but nothing was proved either."""
        return self.verdict.outcome

    @property
    def sessions(self) -> tuple[SessionVerdict, ...]:
        return self.verdict.sessions

    @property
    def sessions_lost(self) -> SessionCount:
        """Sessions that were not answered any more, or that came back without their state."""
        return SessionCount.of(self, SessionOutcome.LOST)

    @property
    def sessions_degraded(self) -> SessionCount:
        """Sessions of which calls failed, and which went on by themselves with their state."""
        return SessionCount.of(self, SessionOutcome.DEGRADED)

    @property
    def sessions_survived(self) -> SessionCount:
        """Sessions of which every call was answered as it should be."""
        return SessionCount.of(self, SessionOutcome.SURVIVED)

    @cached_property
    def timeline(self) -> Timeline:
        """From the disruption to the end, in seconds of the stage's clock."""
        return Timeline(chronicle_of(read_history(self.run_dir / "history.jsonl")))

    def assert_survived(self, *, allow_degraded: bool = False) -> None:
        """Every session survived, and that was proved. Raises AssertionError with the story of what broke first."""
        __tracebackhide__ = True
        degraded = self.sessions_degraded if not allow_degraded else 0
        if self.outcome is not Outcome.PASS or degraded:
            from rollproof.testing.rollouts.story import tell  # noqa: PLC0415 - it needs this module

            self.is_told = True
            raise AssertionError(tell(self))

    def __repr__(self) -> str:
        fates = ", ".join(f"{len(self.verdict.of(fate))} {fate.value}" for fate in SessionOutcome)
        return f"<rollout: {self.outcome.value}, {fates}; {self.run_dir}>"
