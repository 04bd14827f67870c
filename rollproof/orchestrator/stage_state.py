"""What an orchestrator goes on from: the world, the clock, and what it still owed the balancer.

Saved after each turn that changed something, so that the next orchestrator in the same directory decides from
where a killed one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rollproof.core.errors import Permanent
from rollproof.core.world import World
from rollproof.orchestrator.clock import StageClock

WORLD: TypeAdapter[World] = TypeAdapter(World)

GENERATIONS_A_LIFE = 1_000_000
"""A killed orchestrator may have published tables that it did not live to save. Its successor begins so much
further on that none of its own is taken for one of those: a balancer refuses older ones and ignores equal ones."""


@dataclass(frozen=True)
class StageState:
    """`generation` is that of the last routing table, `cuts` the targets whose connections are still to be cut."""

    world: World
    clock: StageClock
    generation: int = 0
    cuts: tuple[str, ...] = ()
    is_adopted: bool = False  # an earlier orchestrator's

    def to_json(self) -> dict[str, Any]:
        return {
            "world": WORLD.dump_python(self.world, mode="json"),
            "clock": self.clock.to_json(),
            "generation": self.generation,
            "cuts": list(self.cuts),
        }

    @classmethod
    def adopt(cls, saved: Mapping[str, Any]) -> StageState:
        """The state to take over with. Raises Permanent for what another version saved."""
        try:
            return cls(
                WORLD.validate_python(saved["world"]),
                StageClock.from_json(saved["clock"]),
                int(saved["generation"]) + GENERATIONS_A_LIFE,
                tuple(str(target) for target in saved["cuts"]),
                is_adopted=True,
            )
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise Permanent(
                "it was left by another version of rollproof",
                hint="end it with `rollproof down`, then start afresh; or go on with the version that started it",
            ) from error
