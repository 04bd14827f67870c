"""A strict round robin: the embedded balancer with one node, without stickiness unless that is asked for.

`python -m tests.conformance.round_robin --port 8080 127.0.0.1:8001 127.0.0.1:8002` runs one until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rollproof.core.errors import RollproofError
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancerClient,
    start_balancer,
    stop_balancer,
)

NO_STICKINESS = Stickiness(enabled=False)


class RoundRobin:
    """`url` stays; the replicas behind it change. A replica is an address, "127.0.0.1:8001"."""

    def __init__(self, balancer: EmbeddedBalancerClient, url: str, stickiness: Stickiness) -> None:
        self.url = url
        self._balancer = balancer
        self._stickiness = stickiness
        self._generation = 0

    async def publish(self, serving: Sequence[str], draining: Sequence[str] = ()) -> None:
        """New requests go to `serving` in turn; what has begun on a draining one goes on there."""
        self._generation += 1
        healthy = [_target(address, "healthy") for address in serving]
        leaving = [_target(address, "draining") for address in draining]
        node = NodeTable("node-0", (*healthy, *leaving))
        await self._balancer.publish(RoutingTable(self._generation, (node,), stickiness=self._stickiness))

    async def cut(self, address: str) -> int:
        """End what still runs on it; how many connections that were."""
        return await self._balancer.cut(address)


def _target(address: str, state: str) -> RoutableTarget:
    is_healthy = state == "healthy"
    return RoutableTarget(address, address, state, new=is_healthy, sticky=is_healthy)


@asynccontextmanager
async def round_robin(
    directory: Path, *, port: int = 0, stickiness: Stickiness = NO_STICKINESS
) -> AsyncIterator[RoundRobin]:
    """One that runs; its socket and log are in `directory`. Raises UsageError (port in use) or Permanent."""
    control = directory / "lb.sock"
    balancer = await start_balancer(BalancerOptions(directory / "access.log", port=port, control=control))
    try:
        listen = str((await balancer.health())["listen"])
        yield RoundRobin(balancer, f"http://{listen}", stickiness)
    finally:
        await asyncio.shield(stop_balancer(control, grace_s=0.0))


async def _serve(port: int, replicas: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="rr-", dir="/tmp") as directory:
        async with round_robin(Path(directory), port=port) as balancer:
            await balancer.publish(replicas)
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            sys.stderr.write(f"{balancer.url} -> {', '.join(replicas)}\n")
            await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.round_robin")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("replicas", nargs="+", metavar="HOST:PORT")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(given.port, given.replicas))
    except RollproofError as error:
        sys.stderr.write(f"round robin: {error.message}\nhint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
