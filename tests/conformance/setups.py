"""What is compared: how the replicas keep their sessions, how many there are, whether they are replaced meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollproof.core.errors import UsageError

ROLLOUT = "+rollout"
BASELINE = "one"


@dataclass(frozen=True)
class Setup:
    """`sessions` as `server.py` has them."""

    name: str
    summary: str
    sessions: str
    replicas: int = 2
    is_rolling: bool = False

    def rolling(self) -> Setup:
        summary = f"{self.summary}, replaced one after the other meanwhile"
        return replace(self, name=self.name + ROLLOUT, summary=summary, is_rolling=True)


_ALL = (
    Setup(BASELINE, "one stock replica", "sdk", replicas=1),
    Setup("stock", "two stock replicas", "sdk"),
    Setup("stateless", "two stateless replicas", "stateless"),
    Setup("durable", "two replicas with mcp-persist's durable sessions", "durable"),
    Setup("resilient", "two replicas with rollproof.sessions", "resilient"),
)
SETUPS = {setup.name: setup for one in _ALL for setup in ((one,) if one.replicas == 1 else (one, one.rolling()))}
USUAL = ("one", "stock", "stateless", "durable", "resilient")


def choose(names: str, *, rollout: bool = False) -> list[Setup]:
    """`names` separated by commas; `rollout` adds to each of two replicas its rolling one. Raises UsageError."""
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in SETUPS]
    if unknown or not wanted:
        raise UsageError(f"no such setup: {', '.join(unknown) or 'none given'}", hint=f"of: {', '.join(SETUPS)}")
    if rollout:
        rolling = [name + ROLLOUT for name in wanted if name + ROLLOUT in SETUPS]
        wanted += [name for name in rolling if name not in wanted]
    return [SETUPS[name] for name in wanted]
