"""A matrix and its file, `matrix.json`:

    version            1; another one is another schema
    rollproof          the version that played it        began_at    UTC, ISO 8601
    command            how it was asked for              machine     CPUs and system it ran on
    asked              stage, platform, balancer, activities, sessions, delay_s, slow_s, speed, seed,
                       settings [KNOB=VALUE], measure_s
    rows               a strategy each: name, summary, expected (of a rolling deployment: survived, degraded or lost),
                       uses_redis
    disruptions        names, in the table's order
    cells              a rehearsal each:
      strategy, disruption
      status           "played"; "not applicable"; "failed": it could not be played. `reason` says why
      verdict          of the run: pass, fail, unknown. `reason` is its one sentence. A run may fail with every session
                       alive: by an activity that the disruption broke
      is_proof         false where it proved nothing, or where the rehearsal itself broke a rule of AWS
      survived, degraded, lost, calls, failed_calls
      first_failure    null, or session, call_number, tool, signature, cause, and after_s: real seconds after the
                       disruption, negative where it came before
      activities       by kind, and era where the run had both: state (of rollproof.verdict.model.ActivityState), tried,
                       ok, signature and cause of the first failure
      costs            null, or what calls cost before the disruption (costs.py): calls, window_s, latency_median_ms,
                       latency_p95_ms, redis_commands (a call; null where there is no Redis), cpu_ms (a call; null
                       where it cannot be measured)
      outage           for a restart of Redis: for how long, and what became of its data
      run              the run's directory, beside matrix.json
      took_s           real seconds

A cell that is not in `cells` has not been played: `rollproof matrix --resume` goes on with those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rollproof.core.errors import Permanent, UsageError
from rollproof.core.platforms import FARGATE
from rollproof.disruptions import Disruption
from rollproof.probe import Activity
from rollproof.verdict.model import ActivityState

MATRIX_FILE = "matrix.json"
VERSION = 1


class CellStatus(StrEnum):
    PLAYED = "played"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


class Fate(StrEnum):
    """What became of a cell's sessions, the worst of them first."""

    LOST = "lost"
    DEGRADED = "degraded"
    SURVIVED = "survived"
    UNPROVED = "unproved"  # nothing was proved, or the rehearsal could not be played
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Cell:
    strategy: str
    disruption: Disruption


@dataclass(frozen=True)
class FirstFailure:
    session: str
    tool: str
    signature: str
    cause: str
    call_number: int | None = None
    after_s: float | None = None


@dataclass(frozen=True)
class ActivityResult:
    """`tried` attempts of one kind, of which `ok` were well."""

    state: ActivityState
    tried: int
    ok: int
    signature: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Costs:
    """Of `calls` calls within `window_s`. What the service uses without any call is taken off."""

    calls: int
    window_s: float
    latency_median_ms: float
    latency_p95_ms: float
    redis_commands: float | None = None
    cpu_ms: float | None = None


@dataclass(frozen=True)
class CellResult:
    strategy: str
    disruption: Disruption
    status: CellStatus
    reason: str = ""
    verdict: str = ""
    is_proof: bool = False
    survived: int = 0
    degraded: int = 0
    lost: int = 0
    calls: int = 0
    failed_calls: int = 0
    first_failure: FirstFailure | None = None
    activities: Mapping[str, ActivityResult] = field(default_factory=dict)
    costs: Costs | None = None
    outage: str = ""
    run: str = ""
    took_s: float = 0.0

    @property
    def cell(self) -> Cell:
        return Cell(self.strategy, self.disruption)

    @property
    def sessions(self) -> int:
        return self.survived + self.degraded + self.lost

    @property
    def fate(self) -> Fate:
        """Of its sessions: what the disruption did to activities is apart from that (`broken`)."""
        if self.status is CellStatus.NOT_APPLICABLE:
            return Fate.NOT_APPLICABLE
        if self.lost:
            return Fate.LOST
        if not self.is_proof:
            return Fate.UNPROVED
        return Fate.DEGRADED if self.degraded else Fate.SURVIVED

    @property
    def broken(self) -> Mapping[str, ActivityResult]:
        """Activities that work, and that the disruption broke."""
        return {kind: found for kind, found in self.activities.items() if found.state is ActivityState.FAILED}


@dataclass(frozen=True)
class Row:
    """A strategy as it was when the matrix was played."""

    name: str
    summary: str
    expected: str
    uses_redis: bool


@dataclass(frozen=True)
class Asked:
    """What every cell was played with. `settings` are what-ifs, as for --set."""

    stage: str
    sessions: int = 10
    delay_s: float = 0.5
    slow_s: float = 1.0
    speed: float = 20.0
    seed: int = 1
    settings: tuple[str, ...] = ()
    measure_s: float = 10.0
    balancer: str = ""
    platform: str = FARGATE
    activities: tuple[Activity, ...] = ()


@dataclass(frozen=True)
class Matrix:
    asked: Asked
    rows: tuple[Row, ...]
    disruptions: tuple[Disruption, ...]
    cells: tuple[CellResult, ...] = ()
    began_at: str = ""
    rollproof: str = ""
    command: str = ""
    machine: str = ""
    version: int = VERSION

    def all_cells(self) -> Iterator[Cell]:
        """Row by row."""
        for row in self.rows:
            for disruption in self.disruptions:
                yield Cell(row.name, disruption)

    def result(self, cell: Cell) -> CellResult | None:
        return next((found for found in self.cells if found.cell == cell), None)

    def of(self, strategy: str) -> list[CellResult]:
        return [found for found in self.cells if found.strategy == strategy]

    def missing(self) -> list[Cell]:
        """What is still to be played: never played, or it could not be."""
        done = {found.cell for found in self.cells if found.status is not CellStatus.FAILED}
        return [cell for cell in self.all_cells() if cell not in done]

    def surprises(self) -> list[CellResult]:
        """Rolling deployments that proved something else than their strategy is expected to."""
        expected = {row.name: row.expected for row in self.rows}
        return [
            found
            for found in self.cells
            if found.disruption is Disruption.ROLLING
            and found.fate in (Fate.SURVIVED, Fate.DEGRADED, Fate.LOST)
            and found.fate != expected[found.strategy]
        ]

    def unproved(self) -> list[Cell]:
        """Cells that have not proved anything, those not played among them."""
        proved = {found.cell for found in self.cells if found.fate is not Fate.UNPROVED}
        return [cell for cell in self.all_cells() if cell not in proved]

    @property
    def exit_code(self) -> int:
        """0: all as expected; 1: a rolling deployment that was not; 3: a cell that proved nothing."""
        return 1 if self.surprises() else 3 if self.unproved() else 0

    def costs_of(self, strategy: str) -> Costs | None:
        return next((found.costs for found in self.of(strategy) if found.costs), None)

    def stops_working(self, strategy: str) -> list[str]:
        """Activities that this strategy's clients tried, and that were not well once in any run."""
        well: dict[str, bool] = {}
        for found in self.of(strategy):
            for kind, activity in found.activities.items():
                if activity.tried:
                    well[kind] = well.get(kind, False) or activity.ok > 0
        return [kind for kind, was_ok in well.items() if not was_ok]


_MATRIX: TypeAdapter[Matrix] = TypeAdapter(Matrix)


def matrix_json(matrix: Matrix) -> bytes:
    return _MATRIX.dump_json(matrix, indent=2) + b"\n"


def write_matrix(matrix: Matrix, path: Path) -> None:
    """Whole or not at all. Raises Permanent where it cannot be written."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(matrix_json(matrix))
        draft.replace(path)
    except OSError as error:
        raise Permanent(f"cannot write {path}: {error.strerror}", hint="give --runs DIR") from error


def read_matrix(path: Path) -> Matrix:
    """`path`: the file, or the directory that holds it. Raises UsageError for what is none."""
    file = path / MATRIX_FILE if path.is_dir() else path
    try:
        found = _MATRIX.validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"no matrix in {path}: {error.strerror}", hint="rollproof matrix makes one") from error
    except ValidationError as error:
        raise UsageError(
            f"{file} is not a matrix of this version of rollproof: {error.error_count()} errors",
            hint="play it again: rollproof matrix",
        ) from error
    if found.version != VERSION:
        raise UsageError(f"{file} is a matrix of version {found.version}, not {VERSION}", hint="rollproof matrix")
    return found
