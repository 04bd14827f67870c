"""All faults, by name."""

from __future__ import annotations

from collections.abc import Mapping

from rollproof.core.errors import UsageError
from rollproof.sim.faults.az_rebalance import AzRebalance
from rollproof.sim.faults.client_crash import ClientCrash
from rollproof.sim.faults.clock_step import ClockStep
from rollproof.sim.faults.cookie_loss import CookieLoss
from rollproof.sim.faults.fault import Fault
from rollproof.sim.faults.hang import Hang
from rollproof.sim.faults.health_flap import HealthFlap
from rollproof.sim.faults.network_cut import NetworkCut
from rollproof.sim.faults.node_lag import NodeLag
from rollproof.sim.faults.orchestrator_crash import OrchestratorCrash
from rollproof.sim.faults.redis_down import RedisDown
from rollproof.sim.faults.redis_flush import RedisFlush
from rollproof.sim.faults.redis_slow import RedisSlow
from rollproof.sim.faults.scale_in import ScaleIn
from rollproof.sim.faults.slow_responses import SlowResponses
from rollproof.sim.faults.slow_start import SlowStart
from rollproof.sim.faults.spot_interruption import SpotInterruption
from rollproof.sim.faults.task_crash import Crash

ALL: tuple[type[Fault], ...] = (
    Crash,
    Hang,
    SlowStart,
    HealthFlap,
    SlowResponses,
    NetworkCut,
    ClockStep,
    SpotInterruption,
    ScaleIn,
    AzRebalance,
    NodeLag,
    OrchestratorCrash,
    RedisDown,
    RedisSlow,
    RedisFlush,
    CookieLoss,
    ClientCrash,
)
FAULTS: Mapping[str, type[Fault]] = {fault.name: fault for fault in ALL}


def find_fault(name: str) -> type[Fault]:
    """Raises UsageError, with all names, for one that there is not."""
    if name not in FAULTS:
        listed = ", ".join(FAULTS)
        raise UsageError(f"no fault is called {name!r}", hint=f"one of {listed}; `rollproof faults` says what they do")
    return FAULTS[name]
