"""Speaks to a balancer's process through its control socket: the `Balancer` port of the embedded balancer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from rollproof.core.access_log import AccessLogEntry, parse_line
from rollproof.core.errors import Permanent, Temporary
from rollproof.core.routing_table import RoutingTable
from rollproof.orchestrator.balancers.embedded.control import check_socket_path
from rollproof.orchestrator.ports import TargetCounters

_ANSWER_S = 5.0
_LOG_LOOK_S = 0.05
_LOG_READ_MAX = 1024 * 1024

_logger = logging.getLogger(__name__)


class EmbeddedBalancerClient:
    """Implements `ports.Balancer`. Holds no connection: each call opens its own, so either side may restart."""

    def __init__(self, control: Path, access_log: Path) -> None:
        check_socket_path(control)
        self.control = control
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
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self.control))
                try:
                    writer.write(head.encode() + data)
                    answer = await reader.read()
                finally:
                    writer.close()
            status, payload = answer.split(b"\r\n\r\n", 1)
            return int(status.split(b" ", 2)[1]), json.loads(payload)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            raise Temporary(
                f"the balancer behind {self.control} does not answer: {error or type(error).__name__}",
                hint="is its process still running? its pid stands beside the socket",
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
