"""One cell of a matrix as a rehearsal on the stage that the matrix is played on."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from rollproof.cli import options as o
from rollproof.cli.live import Live
from rollproof.cli.players import PLAYERS, Asked, Audience, check_stage
from rollproof.cli.running import err
from rollproof.cli.stage import StageName
from rollproof.core.errors import NotModelled
from rollproof.core.platforms import FARGATE
from rollproof.matrix import Cell, CellResult, CellStatus, Matrix, with_result
from rollproof.orchestrator.stage_files import BalancerKind
from rollproof.platforms import check_platform, probe_on_platform
from rollproof.probe import Increments, ProbeOptions
from rollproof.rehearsal import Rehearsal, Rehearsed
from rollproof.strategies import clients_of, fails_at_once

SLOW_EVERY = 5


class CellPlayer:
    """Plays cells of `matrix`; their runs go into `directory`."""

    def __init__(self, matrix: Matrix, directory: Path = Path(), audience: Audience | None = None) -> None:
        self._matrix, self._directory, self._audience = matrix, directory, audience or Live(err, 1.0, quiet=True)
        self._player = PLAYERS[StageName(matrix.asked.stage)]
        self._measured = {found.strategy for found in matrix.cells if found.costs}
        self.on_stop = self._player.on_stop

    def check(self) -> None:
        """Raises UsageError, or NotModelled, for a cell that cannot be played as asked, before any is."""
        for cell in self._matrix.missing():
            rehearsal = self.rehearsal(cell)
            rehearsal.probe.validate()
            check_platform(rehearsal.platform, rehearsal.settings, rehearsal.probe, cell.disruption)
            check_stage(self._player, rehearsal)

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
            strategy=cell.strategy,
            platform=asked.platform,
            sets=asked.settings,
            speed=asked.speed,
            environment=self._player.environment,
        )
        probe = ProbeOptions(
            "http://localhost/mcp", sessions=asked.sessions, delay_s=asked.delay_s, slow_every=SLOW_EVERY,
            slow_s=asked.slow_s, increments=Increments.KEYED, open_streams=True,
            activities=asked.activities,
        )  # fmt: skip
        return Rehearsal(
            chosen.subject, chosen.template, timing=chosen.timing, disruption=cell.disruption,
            probe=probe_on_platform(clients_of(probe, cell.strategy), asked.platform),
            speed=asked.speed, seed=asked.seed, runs_dir=self._directory,
            balancer=BalancerKind(asked.balancer), name=f"{cell.strategy}-{cell.disruption}",
            command=self._command(cell), strategy=cell.strategy, needs_warm_up=not fails_at_once(cell.strategy),
            platform=asked.platform,
            measure_s=0.0 if cell.strategy in self._measured else asked.measure_s,
        )  # fmt: skip

    def _command(self, cell: Cell) -> str:
        """The same as one rehearsal."""
        asked = self._matrix.asked
        words = [o.PROGRAM, "rehearse", "--stage", asked.stage, "--strategy", cell.strategy]
        words += ["--disruption", cell.disruption, "--speed", f"{asked.speed:g}", "--seed", str(asked.seed)]
        words += ["--platform", asked.platform] if asked.platform != FARGATE else []
        words += ["--activities", ",".join(asked.activities)] if asked.activities else []
        words += ["--sessions", str(asked.sessions), "--delay", f"{asked.delay_s:g}", "--slow", f"{asked.slow_s:g}"]
        return " ".join([*words, *(f"--set {setting}" for setting in asked.settings)])


def with_what_is_not_modelled(matrix: Matrix) -> Matrix:
    """The cells that the platform's profile does not play, as not applicable. Raises UsageError as `check`."""
    cells = CellPlayer(matrix)
    for cell in matrix.missing():
        rehearsal = cells.rehearsal(cell)
        try:
            check_platform(rehearsal.platform, rehearsal.settings, rehearsal.probe, cell.disruption)
        except NotModelled as error:
            result = CellResult(cell.strategy, cell.disruption, CellStatus.NOT_APPLICABLE, reason=error.message)
            matrix = with_result(matrix, result)
    return matrix
