"""nginx as the balancer: start it on this machine, find it again, stop it; and the `Balancer` port over its control.

    client = await start_nginx(NginxOptions(access_log=path, control=socket))  # a process of its own: lb/README.md
    client = NginxBalancerClient("lb:8081")  # in a container: control on a private port

What runs is the agent (nginx_agent.py) and, below it, nginx (processes.py says how). What both say goes to
`<socket>.log`; nginx's own files are in `<socket>.d`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rollproof.core.access_log import AccessLogEntry, parse_line
from rollproof.core.errors import Permanent, Temporary
from rollproof.orchestrator.balancers.client import BalancerClient
from rollproof.orchestrator.balancers.control_server import check_socket_path
from rollproof.orchestrator.balancers.nginx_config import Shape, shape_to_json
from rollproof.orchestrator.balancers.nginx_master import end_leftover
from rollproof.orchestrator.balancers.nginx_options import inner_socket, state_beside
from rollproof.orchestrator.balancers.processes import BalancerProcesses

MODULE = "rollproof.orchestrator.balancers.nginx_agent"

_LOG_LOOK_S = 0.05
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NginxOptions:
    """How nginx is started. Port 0 takes a free one; without `key_file` cookies do not outlive the process.

    `slots`: targets' addresses known in advance, whose connections nginx then keeps open between requests:
    "127.0.0.1:8000", a range of ports "127.0.0.1:20000-20063", a subnet "172.28.0.0/26:8000"; at most 1,024.
    `cut`: "chunk" never touches sockets from outside, as where that is impossible.
    `shape`: what the first table will have (`shape_of`); saves a reload.
    """

    access_log: Path
    control: Path
    host: str = "127.0.0.1"
    port: int = 0
    key_file: Path | None = None
    binary: str = ""
    workers: int = 1
    slots: tuple[str, ...] = ()
    cut: str = "auto"
    shape: Shape = field(default_factory=Shape)


class NginxBalancerClient(BalancerClient):
    """Speaks to nginx's agent. Where `control` is HOST:PORT, the access log comes over it, too."""

    name = "nginx's agent"
    hint = "is it still running? docker compose ps lb, or the pid beside the socket"
    answer_s = 8.0  # a table that changes the load balancer's attributes waits for a reload

    def __init__(self, control: Path | str, access_log: Path | None = None) -> None:
        super().__init__(control, access_log or Path())

    async def description(self) -> str:
        return f"nginx {(await self.health())['nginx_version']}"

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        """Entries behind byte `offset`, for ever. Raises Permanent if the log is shorter than `offset`."""
        if not self.is_remote:
            async for behind, entry in super().access_log(offset):
                yield behind, entry
        while True:
            for line in await self._log_lines(offset):
                offset += len(line)
                try:
                    entry = parse_line(line)
                except ValueError as error:
                    _logger.warning("%s's access log before byte %d: %s", self.address, offset, error)
                    continue
                yield offset, entry
            await asyncio.sleep(_LOG_LOOK_S)

    async def _log_lines(self, offset: int) -> list[str]:
        """Nothing while the balancer is away."""
        with suppress(Temporary):
            answer = await self.call("GET", f"/v1/access-log?offset={offset}")
            if answer["size"] < offset:
                raise Permanent(
                    f"{self.address}'s access log has {answer['size']} bytes, fewer than the {offset} already read",
                    hint="the balancer was made anew; start again from byte 0",
                )
            return str(answer["text"]).splitlines(keepends=True)
        return []


def _sweep(control: Path) -> None:
    """nginx's own files; where it does not die with its agent (macOS), nginx itself."""
    directory = state_beside(control)
    end_leftover(directory)
    for name in (inner_socket(directory).name, "nginx.conf", "nginx.pid", "body", "proxy", "unused"):
        with suppress(OSError):
            os.rmdir(directory / name) if (directory / name).is_dir() else (directory / name).unlink()
    with suppress(OSError):
        directory.rmdir()


PROCESSES = BalancerProcesses("nginx", MODULE, NginxBalancerClient, _sweep)


async def start_nginx(options: NginxOptions, *, deadline_s: float = 20.0) -> NginxBalancerClient:
    """Start nginx with its agent and wait until it is healthy. Raises as `BalancerProcesses.start`.

    Also UsageError where there is no usable nginx, or the path of its own socket is too long.
    """
    state = state_beside(options.control)
    check_socket_path(inner_socket(state))
    arguments = ["--listen", f"{options.host}:{options.port}", "--workers", str(options.workers), "--cut", options.cut]
    arguments += ["--state", str(state), "--shape", shape_to_json(options.shape)]
    arguments += [] if options.key_file is None else ["--key-file", str(options.key_file)]
    arguments += ["--nginx", options.binary] if options.binary else []
    arguments += [word for slot in options.slots for word in ("--slot", slot)]
    return await PROCESSES.start(options.control, options.access_log, arguments, deadline_s=deadline_s)


async def attach_nginx(control: Path) -> NginxBalancerClient:
    """The nginx that already runs behind `control`. Raises Temporary if none answers."""
    return await PROCESSES.attach(control)


def is_nginx_running(control: Path) -> bool:
    """Whether its agent's process exists. One that is too busy to answer does."""
    return PROCESSES.is_running(control)


async def stop_nginx(control: Path, *, grace_s: float = 5.0, deadline_s: float = 5.0) -> None:
    """Stop the nginx behind `control`, whoever started it. Idempotent. Raises Permanent if it cannot be ended."""
    await PROCESSES.stop(control, grace_s=grace_s, deadline_s=deadline_s)
