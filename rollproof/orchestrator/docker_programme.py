"""What a docker stage is set with, as the client tells it to the orchestrator. Needs no Docker."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from rollproof.core.platforms import FARGATE
from rollproof.core.settings import Settings
from rollproof.orchestrator.stage_files import StagePlan


@dataclass(frozen=True)
class Programme:
    """What a stage is set with. `template` are the settings before what-ifs; `plan` has them after."""

    plan: StagePlan
    template: Settings
    strategy: str = ""
    platform: str = FARGATE

    def is_same_play(self, other: Programme) -> bool:
        """Whether a service that was set with one of them is what the other asks for."""
        mine, theirs = self.plan, other.plan
        return (
            mine.settings, mine.timing, mine.speed, mine.seed, mine.needs_redis, mine.needs_request_state_key,
            self.strategy,
        ) == (
            theirs.settings, theirs.timing, theirs.speed, theirs.seed, theirs.needs_redis,
            theirs.needs_request_state_key, other.strategy,
        )  # fmt: skip


PROGRAMME: TypeAdapter[Programme] = TypeAdapter(Programme)
