"""The embedded balancer as a process of its own: start it, find it again, stop it (processes.py says how)."""

from __future__ import annotations

from pathlib import Path

from rollproof.core.errors import UsageError
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.balancers.embedded.server import BalancerOptions
from rollproof.orchestrator.balancers.processes import BalancerProcesses

MODULE = "rollproof.orchestrator.balancers.embedded"


class EmbeddedBalancerClient(BalancerClient):
    """Speaks to an embedded balancer."""


PROCESSES = BalancerProcesses("the balancer", MODULE, EmbeddedBalancerClient)


async def start_balancer(options: BalancerOptions, *, deadline_s: float = 15.0) -> EmbeddedBalancerClient:
    """Start a balancer and wait until it is healthy. Raises as `BalancerProcesses.start`."""
    if options.control is None:
        raise UsageError("a balancer process needs a control socket", hint="set `control` to a path")
    arguments = ["--listen", f"{options.host}:{options.port}"]
    arguments += [] if options.key_file is None else ["--key-file", str(options.key_file)]
    arguments += [] if options.tasks is None else ["--tasks", str(options.tasks)]
    return await PROCESSES.start(options.control, options.access_log, arguments, deadline_s=deadline_s)


async def attach_balancer(control: Path) -> EmbeddedBalancerClient:
    """The balancer that already runs behind `control`. Raises Temporary if none answers."""
    return await PROCESSES.attach(control)


def is_balancer_running(control: Path) -> bool:
    """Whether its process exists. One that is too busy to answer does."""
    return PROCESSES.is_running(control)


async def stop_balancer(control: Path, *, grace_s: float = 5.0, deadline_s: float = 5.0) -> None:
    """Stop the balancer behind `control`, whoever started it. Idempotent. Raises Permanent if it cannot be ended."""
    await PROCESSES.stop(control, grace_s=grace_s, deadline_s=deadline_s)
