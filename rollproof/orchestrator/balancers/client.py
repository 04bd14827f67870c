"""Speaks to a balancer's process through its control interface: the `Balancer` port of every kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from rollproof.core.access_log import AccessLogEntry, parse_line
from rollproof.core.errors import Permanent, Temporary
from rollproof.core.routing_table import RoutingTable
from rollproof.orchestrator.balancers.control_server import ask, check_socket_path, split_host_port
from rollproof.orchestrator.ports import TargetCounters

_LOG_LOOK_S = 0.05
_LOG_READ_MAX = 1024 * 1024

_logger = logging.getLogger(__name__)


class BalancerClient:
    """Implements `ports.Balancer`. Holds no connection: each call opens its own, so either side may restart.

    `control` is a socket's path, or HOST:PORT. What a kind answers to is its subclass's: `name` and `hint` of an error
    where it does not, and `answer_s`, the seconds that a call may take.
    """

    name = "the balancer"
    hint = "is its process still running? its pid stands beside the socket"
    answer_s = 5.0

    def __init__(self, control: Path | str, access_log: Path) -> None:
        self.address = str(control)
        self.is_remote = split_host_port(self.address) is not None
        if not self.is_remote:
            check_socket_path(Path(control))
        self.control = Path(control)
        self.access_log_path = access_log

    async def publish(self, table: RoutingTable) -> None:
        """Raises Permanent if `table` is older than the one in force or malformed, Temporary if unreachable."""
        await self.call("PUT", "/v1/table", table.to_json())

    async def cut(self, target_id: str) -> int:
        return int((await self.call("POST", "/v1/cut", {"target": target_id}))["cut"])

    async def counters(self) -> Mapping[str, TargetCounters]:
        targets = (await self.statistics())["targets"]
        return {target_id: TargetCounters(**counted) for target_id, counted in targets.items()}

    async def access_log(self, offset: int) -> AsyncIterator[tuple[int, AccessLogEntry]]:
        """Entries behind byte `offset`, for ever; a line that cannot be read is skipped with a warning.

        Raises Permanent if the file is shorter than `offset`: it is not the log that was read before.
        """
        while True:
            for line in await asyncio.to_thread(_complete_lines, self.access_log_path, offset):
                offset += len(line)
                try:
                    entry = parse_line(line.decode("latin-1"))
                except ValueError as error:
                    if line.strip():
                        _logger.warning("%s before byte %d: %s", self.access_log_path, offset, error)
                    continue
                yield offset, entry
            await asyncio.sleep(_LOG_LOOK_S)

    async def table(self) -> RoutingTable | None:
        """The table in force; None before the first."""
        status, answer = await self.exchange("GET", "/v1/table", None)
        return RoutingTable.from_json(answer) if status == 200 else None

    async def statistics(self) -> Mapping[str, Any]:
        """All counters: "targets", "totals" and "nodes", the latter two by CloudWatch's names."""
        return await self.call("GET", "/v1/counters")

    async def health(self) -> Mapping[str, Any]:
        """pid, listen, generation, access_log and more. Raises Temporary if no balancer answers."""
        return await self.call("GET", "/v1/health")

    async def description(self) -> str:
        """The kind, and the version of a program that is not ours: "nginx 1.31.3"."""
        return "embedded"

    async def request_stop(self, grace_s: float) -> None:
        await self.call("POST", "/v1/stop", {"grace_s": grace_s})

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One control call. Raises Permanent where the balancer refuses it, Temporary where none answers."""
        status, answer = await self.exchange(method, path, body)
        if status >= 400:
            raise Permanent(f"the balancer refused {method} {path}: {answer['error']}", hint=answer.get("hint", ""))
        return answer

    async def exchange(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one control call. Raises Temporary where nobody answers."""
        try:
            return await ask(self.address, method, path, body, timeout_s=self.answer_s)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            raise Temporary(
                f"{self.name} behind {self.address} does not answer: {error or type(error).__name__}",
                hint=self.hint,
            ) from error


def _complete_lines(path: Path, offset: int) -> list[bytes]:
    """The whole lines behind `offset`; a line still being written stays for the next time."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < offset:
                raise Permanent(
                    f"{path} has {size} bytes, fewer than the {offset} already read",
                    hint="the log was replaced; start again from byte 0",
                )
            file.seek(offset)
            data = file.read(_LOG_READ_MAX)
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
