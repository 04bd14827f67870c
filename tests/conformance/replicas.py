"""Replicas of `server.py` as processes of their own, behind the round robin, and a rollout that replaces them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from rollproof.core.errors import Permanent
from tests.conformance.round_robin import RoundRobin

START_S = 60.0
STOP_S = 15.0  # above the server's own grace: behind it comes SIGKILL, as on ECS
DELAY_S = 2.0  # deregistration delay of the rollout
USAGE = 2  # exit code of a server that cannot have the sessions that are asked for
_LOOK_S = 0.05


class Unavailable(Permanent):
    """These sessions are not to be had here."""


class Replica:
    """One process; `address` is where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self._process = process
        self._log = log

    async def wait_healthy(self) -> None:
        """Raises Unavailable where it cannot have its sessions, Permanent where it ended or is not up in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False) as client:
                while self._process.returncode is None:
                    with suppress(httpx.TransportError):
                        if (await client.get(f"http://{self.address}/health")).is_success:
                            return
                    await asyncio.sleep(_LOOK_S)
        said = self._log.read_text(errors="replace").strip().splitlines()
        if self._process.returncode == USAGE:
            raise Unavailable(said[0] if said else "it said nothing")
        raise Permanent(f"a replica did not start: {' '.join(said[-3:])}", hint=f"see {self._log}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough. Idempotent."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
                    return


class Fleet:
    """`serving` replicas behind `balancer`. `command` is the server's without its port."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], balancer: RoundRobin, logs: Path
    ) -> None:
        self._command, self._environment = command, environment
        self._balancer, self._logs = balancer, logs
        self._serving: list[Replica] = []
        self._all: list[Replica] = []
        self.replaced = 0

    async def start(self, count: int) -> None:
        self._serving += await asyncio.gather(*(self._launch() for _ in range(count)))
        await self._publish()

    async def roll(self, on_replaced: Callable[[int], None]) -> None:
        """Replace one after the other, for ever."""
        while True:
            old = self._serving[0]
            self._serving.append(await self._launch())
            await self._publish()
            self._serving.remove(old)
            await self._publish(draining=(old.address,))
            await asyncio.sleep(DELAY_S)
            await self._balancer.cut(old.address)
            await self._publish()
            await old.stop()
            self.replaced += 1
            on_replaced(self.replaced)

    async def _launch(self) -> Replica:
        port = _free_port()
        log = self._logs / f"replica-{len(self._all) + 1}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *("--port", str(port)),
                env={**os.environ, **self._environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours; they are ended in order
            )
        replica = Replica(process, port, log)
        self._all.append(replica)
        await replica.wait_healthy()
        return replica

    async def _publish(self, draining: Sequence[str] = ()) -> None:
        await self._balancer.publish([replica.address for replica in self._serving], draining)

    async def stop(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self._all))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def fleet(
    command: Sequence[str], environment: Mapping[str, str], balancer: RoundRobin, logs: Path
) -> AsyncIterator[Fleet]:
    """One without replicas yet; at the end all of them are ended."""
    found = Fleet(command, environment, balancer, logs)
    try:
        yield found
    finally:
        await asyncio.shield(found.stop())
