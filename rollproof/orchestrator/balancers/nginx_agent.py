"""The agent beside nginx: `python -m rollproof.orchestrator.balancers.nginx_agent`. Standard library only.

nginx proxies; what it cannot do by itself is done here. The agent starts it, serves the control interface, checks and
renders tables, reloads it where the load balancer's attributes change, and ends connections when a
deregistration delay is over. Data never passes through it. The same file runs on a developer's machine and in the image
of lb/Dockerfile. Ends with 0 when asked to stop, with 2 where it cannot start (the reason is on stderr), with 1
when nginx died.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from rollproof.core.errors import Permanent, RollproofError, Temporary, UsageError
from rollproof.core.routing_table import NodeTable, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers import nginx_table
from rollproof.orchestrator.balancers.control_server import (
    USAGE_EXIT,
    Answer,
    ControlServer,
    Handler,
    ask,
    seconds_to_stop,
    target_to_cut,
)
from rollproof.orchestrator.balancers.nginx_binary import NginxBinary, find_nginx
from rollproof.orchestrator.balancers.nginx_config import (
    Installation,
    check_shape,
    expand_slots,
    shape_of,
)
from rollproof.orchestrator.balancers.nginx_master import NginxMaster
from rollproof.orchestrator.balancers.nginx_options import AgentOptions, inner_socket, listen_on, load_key, parse
from rollproof.orchestrator.balancers.nginx_sockets import can_shut, connections, shut

DIED_EXIT = 1

_GRACE_S = 5.0
_WATCH_S = 0.5
_RETIRING_S = 0.1
_RETIRED_S = 0.5  # a worker that was just about to send a request to the target has done so by then
_LOG_READ_MAX = 1024 * 1024
_EMPTY = RoutingTable(generation=-1, nodes=(NodeTable("node-0"),))


class Agent:
    """`start`, then serve until `stop_requested`, then `stop`."""

    def __init__(self, options: AgentOptions, binary: NginxBinary, key: bytes) -> None:
        self._options, self._key = options, key
        self.stop_requested = asyncio.Event()
        self.has_died = False
        self.grace_s = _GRACE_S
        self._table, self._shape, self._version = _EMPTY, options.shape, 0
        self._addresses: dict[str, str] = {}  # target id -> where it is, or was, connected to
        self._names: dict[str, str] = {}  # what cookies call a target whose id is too long for them
        self._retiring: dict[str, tuple[str, float]] = {}  # targets that left the table: address, since when
        self._seen: dict[str, tuple[int, frozenset[str]]] = {}  # target id -> connections counted, those open now
        self._lock = asyncio.Lock()
        self._can_shut = options.cut == "auto" and can_shut()
        self._listening = listen_on(options.host, options.port)
        self._port = self._listening.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        self._listen = f"{host}:{self._port}"
        installation = Installation(
            listen=self._listen,
            state=options.state,
            inner=inner_socket(options.state),
            assets=options.assets,
            access_log=options.access_log,
            boot=secrets.token_hex(12),
            modules=binary.modules,
            workers=options.workers,
            version=binary.version,
            engine=options.engine,
            can_shut_sockets=self._can_shut,
            slots=expand_slots(options.slots),
        )
        self._master, self._nginx_version = NginxMaster(binary, installation), binary.version
        self._control = ControlServer(options.control, self._routes())
        self._watcher: asyncio.Task[None] | None = None

    def _routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("PUT", "/v1/table"): self._put_table,
            ("GET", "/v1/table"): self._get_table,
            ("GET", "/v1/counters"): self._get_counters,
            ("POST", "/v1/cut"): self._cut,
            ("GET", "/v1/health"): self._health,
            ("GET", "/v1/access-log"): self._access_log,
            ("POST", "/v1/stop"): self._stop,
        }

    async def start(self) -> None:
        """Raises RollproofError; nothing is left running then."""
        self._control.bind()
        try:
            await self._master.start(self._listening, self._shape)
            await self._control.start()
        except BaseException:
            await self._control.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        await self._master.stop(self.grace_s)
        await self._control.stop()

    def request_stop(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.stop_requested.set()

    # --- the table ----------------------------------------------------------------------------------

    async def _put_table(self, body: Any) -> Answer:
        table = nginx_table.check_table(body)
        check_shape(shape_of(table))
        async with self._lock:
            now = self._table.generation
            if table.generation < now:
                raise Permanent(
                    f"routing table of generation {table.generation} refused: {now} is in force",
                    hint="publish with a higher generation",
                )
            if table.generation > now:
                await self._take(table)
            return 200, {"generation": self._table.generation}

    async def _take(self, table: RoutingTable) -> None:
        targets = {t.id: t.address for node in table.nodes for t in node.targets}
        resolved = {address: await _resolved(address) for address in set(targets.values())}
        shape = shape_of(table)
        if shape != self._shape:
            await self._master.reload(shape)
            self._shape = shape
        if _cookies_of(table) != _cookies_of(self._table):
            self._version += 1
        self._names |= nginx_table.long_names(targets)
        state = nginx_table.state(
            table, self._key, resolved, self._names, published_at=time.time(), version=self._version
        )
        await self._master.tell("PUT", "/state", {"table": state})
        former = {t.id for node in self._table.nodes for t in node.targets}
        self._table = table
        self._addresses |= {target_id: resolved[address] for target_id, address in targets.items()}
        for target_id in former - targets.keys():
            self._retiring[target_id] = (self._addresses[target_id], time.monotonic())
        for target_id in targets:
            self._retiring.pop(target_id, None)

    async def _get_table(self, _: Any) -> Answer:
        if self._table.generation < 0:
            return 404, {"error": "no routing table yet", "hint": "PUT /v1/table"}
        return 200, self._table.to_json()

    # --- connections ------------------------------------------------------------------------------------

    async def _cut(self, body: Any) -> Answer:
        target_id = target_to_cut(body)
        address = self._addresses.get(target_id)
        if address is None:
            return 200, {"cut": 0}
        counts = (await self._master.tell("GET", "/counts"))["counts"]
        await self._master.tell("POST", "/cut", {"target": target_id})
        if self._can_shut and not self._is_anothers(address, target_id):
            shut(self._master.workers(), {address})
        return 200, {"cut": nginx_table.outstanding(counts, target_id)}

    def _is_anothers(self, address: str, target_id: str) -> bool:
        """Whether the address has gone over to another target of the table."""
        ids = {t.id for node in self._table.nodes for t in node.targets}
        return any(self._addresses[other] == address for other in ids if other != target_id)

    async def _watch(self) -> None:
        """What is to be noticed: nginx died, a worker died, a target that left has answered its last request."""
        while self._master.is_running:
            await asyncio.sleep(_RETIRING_S if self._retiring and self._can_shut else _WATCH_S)
            with suppress(Temporary):
                async with self._lock:
                    if self._master.has_lost_worker():
                        await self._master.tell("POST", "/settle")
                    await self._close_idle()
        self.has_died = True
        self.stop_requested.set()

    async def _close_idle(self) -> None:
        before = time.monotonic() - _RETIRED_S
        due = {t: address for t, (address, since) in self._retiring.items() if since < before}
        if not due or not self._can_shut:
            return
        counts = (await self._master.tell("GET", "/counts"))["counts"]
        idle = {t: address for t, address in due.items() if nginx_table.outstanding(counts, t) == 0}
        unused = {address for target_id, address in idle.items() if not self._is_anothers(address, target_id)}
        if unused:
            shut(self._master.workers(), unused)
        self._retiring = {t: kept for t, kept in self._retiring.items() if t not in idle}

    async def _get_counters(self, _: Any) -> Answer:
        told = await self._master.tell("GET", "/counts")
        if self._can_shut:
            self._count_connections()
        counted = {target_id: count for target_id, (count, _) in self._seen.items()}
        return 200, nginx_table.counters(told["counts"], told["active"], self._table, counted)

    def _count_connections(self) -> None:
        """Connections ever seen to each target: counted at each look, so those between two looks are missed."""
        there = connections(self._master.workers())
        for target_id, address in self._addresses.items():
            count, known = self._seen.get(target_id, (0, frozenset()))
            now = frozenset(there.get(address, ()))
            self._seen[target_id] = (count + len(now - known), now)

    # --- the rest ---------------------------------------------------------------------------------------

    async def _health(self, _: Any) -> Answer:
        return 200, {
            "status": "stopping" if self.stop_requested.is_set() else "ok",
            "pid": os.getpid(),
            "nginx_pid": self._master.pid,
            "nginx_version": ".".join(map(str, self._nginx_version)),
            "listen": self._listen,
            "generation": self._table.generation,
            "access_log": str(self._options.access_log),
            "access_log_lines_lost": 0,
            "cut": "sockets" if self._can_shut else "next chunk",
        }

    async def _access_log(self, query: Any) -> Answer:
        try:
            offset = max(0, int(query["offset"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("access-log: no offset given; expected ?offset=<byte>") from error
        return 200, await asyncio.to_thread(_read_lines, self._options.access_log, offset)

    async def _stop(self, body: Any) -> Answer:
        self.request_stop(seconds_to_stop(body))
        return 202, {"stopping": True}


def _cookies_of(table: RoutingTable) -> tuple[Stickiness, str]:
    """What decides whether a cookie counts."""
    return table.stickiness, table.target_group_arn


def _read_lines(path: Path, offset: int) -> dict[str, Any]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(min(offset, size))
        data = file.read(_LOG_READ_MAX)
        return {"text": data[: data.rfind(b"\n") + 1].decode("latin-1"), "size": size}
    return {"text": "", "size": 0}


async def _resolved(address: str) -> str:
    """`address` with its host as an IP address. Raises Temporary where its name has none."""
    host, _, port = address.rpartition(":")
    with suppress(ValueError):
        ip_address(host.strip("[]"))
        return address
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise Temporary(f"the target address {address} cannot be resolved: {error.strerror}") from error
    ip = str(found[0][4][0])
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


async def serve(options: AgentOptions) -> int:
    """Until told to stop, or nginx dies. Returns the exit code. Raises RollproofError."""
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # nginx lets everybody use a socket of its
    options.access_log.parent.mkdir(parents=True, exist_ok=True)
    agent = Agent(options, find_nginx(options.binary), load_key(options.key_file))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, agent.request_stop, _GRACE_S)
    await agent.start()
    await agent.stop_requested.wait()
    await agent.stop()
    return DIED_EXIT if agent.has_died else 0


async def check(control: str) -> int:
    """For a container's health check: 0 if the agent answers that all is well."""
    try:
        status, answer = await ask(control, "GET", "/v1/health", None, timeout_s=2.0)
    except (OSError, TimeoutError, ValueError) as error:
        sys.stderr.write(f"the agent behind {control} does not answer: {error or type(error).__name__}\n")
        return DIED_EXIT
    return 0 if status == 200 and answer["status"] == "ok" else DIED_EXIT


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parse(arguments)
        return asyncio.run(serve(options) if isinstance(options, AgentOptions) else check(options))
    except RollproofError as error:
        sys.stderr.write(f"{error.message}\nhint: {error.hint}\n" if error.hint else f"{error.message}\n")
        return USAGE_EXIT if isinstance(error, UsageError) else DIED_EXIT


if __name__ == "__main__":
    sys.exit(main())
