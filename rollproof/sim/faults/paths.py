"""Rules of the network that faults add, and take away again."""

from __future__ import annotations

from collections.abc import Callable

from rollproof.core.world import World
from rollproof.sim.faults.fault import Scene, Struck
from rollproof.sim.network import HERE, Rule

BALANCER_HOST = HERE


def between(scene: Scene, name: str, rule: Rule, is_over: Callable[[World], bool] | None = None) -> Struck:
    """`rule` holds from now on, until it is undone."""
    network = scene.sim.network
    network.rules[name] = rule

    async def undo() -> None:
        network.rules.pop(name, None)
        network.refresh()

    return Struck(undo) if is_over is None else Struck(undo, is_over)
