"""The heap world: rollouts with modelled containers, sessions and requests; thousands of them in seconds."""

from rollproof.sim.heap.clients import Clients, Fate, SessionOutcome, SessionsIn
from rollproof.sim.heap.containers import Behaviour
from rollproof.sim.heap.moments import Moments
from rollproof.sim.heap.simulate import COMES_UP, HeapResult, simulate
from rollproof.sim.heap.world import HeapWorld

__all__ = [
    "COMES_UP",
    "Behaviour",
    "Clients",
    "Fate",
    "HeapResult",
    "HeapWorld",
    "Moments",
    "SessionOutcome",
    "SessionsIn",
    "simulate",
]
