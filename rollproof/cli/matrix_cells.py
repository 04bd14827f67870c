"""One cell of a matrix as a rehearsal on the stage that the matrix is played on."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from rollproof.cli import options as o
from rollproof.cli.players import PLAYERS, Asked, Audience
from rollproof.cli.stage import StageName
from rollproof.matrix import Cell, Matrix
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.probe import Increments, ProbeOptions
from rollproof.rehearsal import Rehearsal, Rehearsed
from rollproof.strategies import clients_of, fails_at_once

SLOW_EVERY = 5


class CellPlayer:
    """Plays cells of `matrix`; their runs go into `directory`."""

    def __init__(self, matrix: Matrix, directory: Path, audience: Audience) -> None:
        self._matrix, self._directory, self._audience = matrix, directory, audience
        self._player = PLAYERS[StageName(matrix.asked.stage)]
        self._measured = {found.strategy for found in matrix.cells if found.costs}
        self.on_stop = self._player.on_stop

    def check(self) -> None:
        """Raises UsageError, or NotModelled, for a cell that cannot be played as asked, before any is."""
        for cell in self._matrix.missing():
            self.rehearsal(cell).probe.validate()

    def kept_up(self) -> AbstractAsyncContextManager[None]:
        """The stage, as far as it stays up between cells."""
        return self._player.kept_up(self.rehearsal(next(self._matrix.all_cells())), self._audience)

    async def play(self, cell: Cell) -> Rehearsed:
        """Raises as `rehearse`."""
        rehearsal = self.rehearsal(cell)
        done = await self._player.rehearse(Asked(rehearsal), self._audience)
        if rehearsal.measure_s:
            self._measured.add(cell.strategy)
        return done

    def rehearsal(self, cell: Cell) -> Rehearsal:
        """What calls cost is measured in the first cell of a strategy."""
        asked = self._matrix.asked
        chosen = o.choose(
            strategy=cell.strategy, sets=asked.settings, speed=asked.speed, environment=self._player.environment
        )
        probe = ProbeOptions(
            "http://localhost/mcp", sessions=asked.sessions, delay_s=asked.delay_s, slow_every=SLOW_EVERY,
            slow_s=asked.slow_s, increments=Increments.KEYED, open_streams=True,
        )  # fmt: skip
        return Rehearsal(
            chosen.subject, chosen.template, timing=chosen.timing, disruption=cell.disruption,
            probe=clients_of(probe, cell.strategy), speed=asked.speed, seed=asked.seed, runs_dir=self._directory,
            balancer=BalancerKind(asked.balancer), name=f"{cell.strategy}-{cell.disruption}",
            command=self._command(cell), strategy=cell.strategy, needs_warm_up=not fails_at_once(cell.strategy),
            measure_s=0.0 if cell.strategy in self._measured else asked.measure_s,
        )  # fmt: skip

    def _command(self, cell: Cell) -> str:
        """The same as one rehearsal."""
        asked = self._matrix.asked
        words = [o.PROGRAM, "rehearse", "--stage", asked.stage, "--strategy", cell.strategy]
        words += ["--disruption", cell.disruption, "--speed", f"{asked.speed:g}", "--seed", str(asked.seed)]
        words += ["--sessions", str(asked.sessions), "--delay", f"{asked.delay_s:g}", "--slow", f"{asked.slow_s:g}"]
        return " ".join([*words, *(f"--set {setting}" for setting in asked.settings)])
