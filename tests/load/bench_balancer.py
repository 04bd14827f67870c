"""Measures the embedded balancer: throughput, latency and CPU a request, beside the bare backend and plain nginx.

    python tests/load/bench_balancer.py [--seconds 5] [--connections 64] [--rounds 3] [--requests 100000]

Prints two Markdown tables. The first: keep-alive connections of wrk against each, in turns, medians of the rounds;
every request carries sticky cookies, so the embedded balancer decrypts and re-encrypts one each time. CPU is user and
system time of the balancer's processes, divided by the requests it answered. The second: keep-alive requests with
cookie jars while the routing table changes without pause, each answer checked against the tables then in force.

Needs wrk and nginx on PATH for the first table; what is missing is left out, and said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers.embedded import (
    BalancerOptions,
    EmbeddedBalancerClient,
    start_balancer,
    stop_balancer,
)
from rollproof.testing.balancer_wire import Wire, get

BODY = b"hello\n"
USERS = 16
NAMES = "abcdefghijklmnopqrstuvwx"


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- what is measured -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """Something that answers on a port, and the processes whose CPU counts."""

    name: str
    port: int
    processes: Callable[[], list[psutil.Process]]


@dataclass(frozen=True)
class Sample:
    """One round. `cpu_us` per request; NaN where there is nothing between client and backend."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def nginx(directory: Path, name: str, port: int, location: str, extra: str = "") -> Iterator[psutil.Process]:
    """An nginx with one worker and one location; yields its master."""
    conf = directory / f"{name}.conf"
    conf.write_text(
        f"worker_processes 1; daemon off; pid {directory}/{name}.pid; error_log {directory}/{name}.err;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 100000000; {extra}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}\n"
    )
    child = subprocess.Popen(["nginx", "-c", str(conf), "-e", str(directory / f"{name}.err")])
    try:
        wait_for_port(port)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def measure(subject: Subject, cookie: str, seconds: float, connections: int) -> Sample:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-H", f"Cookie: {cookie}"]
    processes = subject.processes()
    before = cpu_s(processes)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{subject.port}/"], capture_output=True, text=True, check=True
    ).stdout
    used = cpu_s(processes) - before
    requests = int(found(r"(\d+) requests in", done))
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", done)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", done)))
    return Sample(
        per_second=float(found(r"Requests/sec:\s+([\d.]+)", done)),
        p50_ms=milliseconds(found(r"\n\s+50%\s+(\S+)", done)),
        p99_ms=milliseconds(found(r"\n\s+99%\s+(\S+)", done)),
        cpu_us=used / requests * 1e6 if processes else float("nan"),
        failed=errors,
    )


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said no {pattern!r}:\n{text}")
    return match[1]


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]  # wrk's own form
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


# --- the first table ------------------------------------------------------------------------------------------


async def compare(directory: Path, given: argparse.Namespace) -> None:
    missing = [tool for tool in ("wrk", "nginx") if shutil.which(tool) is None]
    if missing:
        say(f"Throughput left out: no {' and no '.join(missing)} on PATH.")
        return
    backend, proxy = free_port(), free_port()
    control = directory / "c.sock"
    with ExitStack() as running:
        running.enter_context(nginx(directory, "backend", backend, f'return 200 "{BODY.decode().strip()}";'))
        upstream = f"upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; }}"
        pass_on = 'proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";'
        master = running.enter_context(nginx(directory, "proxy", proxy, pass_on, upstream))
        client = await start_balancer(BalancerOptions(directory / "access.log", control=control))
        try:
            await client.publish(two_targets(backend))
            port, process = await where(client)
            cookie = await sticky_cookie(port)
            subjects = [
                Subject("bare backend", backend, list),
                Subject("embedded balancer", port, lambda: [process]),
                Subject("plain nginx proxy", proxy, master.children),
            ]
            samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
            for _ in range(given.rounds):
                for subject in subjects:
                    sample = await asyncio.to_thread(measure, subject, cookie, given.seconds, given.connections)
                    samples[subject.name].append(sample)
            print_comparison(samples, given, process.memory_info().rss)
        finally:
            await stop_balancer(control, grace_s=0.0)


def two_targets(port: int) -> RoutingTable:
    row = tuple(
        RoutableTarget(f"10.0.0.{n}:8000", f"127.0.0.1:{port}", "healthy", new=True, sticky=True) for n in (1, 2)
    )
    return RoutingTable(1, (NodeTable("node-0", row), NodeTable("node-1", row)), stickiness=Stickiness(enabled=True))


async def where(client: EmbeddedBalancerClient) -> tuple[int, psutil.Process]:
    health = await client.health()
    return int(health["listen"].rpartition(":")[2]), psutil.Process(health["pid"])


async def sticky_cookie(port: int) -> str:
    async with await Wire.to(port) as wire:
        return (await wire.ask(get("/"))).cookie


def print_comparison(samples: dict[str, list[Sample]], given: argparse.Namespace, memory: int) -> None:
    def median(name: str, field: str) -> float:
        return float(statistics.median(getattr(sample, field) for sample in samples[name]))

    say(f"{given.connections} keep-alive connections, medians of {given.rounds} rounds of {given.seconds:g} s:")
    say()
    say("| | req/s | p50 ms | p99 ms | CPU us/request (each round) | failed |")
    say("|---|---|---|---|---|---|")
    for name, rounds in samples.items():
        each = ", ".join(f"{s.cpu_us:.0f}" for s in rounds)
        cpu = "-" if "nan" in each else f"{median(name, 'cpu_us'):.0f} ({each})"
        numbers = f"{median(name, 'per_second'):.0f} | {median(name, 'p50_ms'):.2f} | {median(name, 'p99_ms'):.2f}"
        say(f"| {name} | {numbers} | {cpu} | {sum(s.failed for s in rounds)} |")
    say()
    say(f"Memory of the embedded balancer: {memory / 2**20:.0f} MiB.")
    say()


# --- the second table -----------------------------------------------------------------------------------------


class Target(asyncio.Protocol):
    """Answers every request with its name."""

    def __init__(self, name: str) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
            self._transport.write(self._answer)


async def change_under_load(directory: Path, total: int) -> None:
    """24 targets; at any time two are allowed, and which two changes as fast as the control socket takes it."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda n=n: Target(n), "127.0.0.1", 0) for n in NAMES]  # type: ignore[misc]
    addresses = {n: f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for n, s in zip(NAMES, servers, strict=True)}
    control = directory / "d.sock"
    client = await start_balancer(BalancerOptions(directory / "changes.log", control=control))
    run = Changes(client, addresses, total)
    try:
        await run.publish()
        port, _ = await where(client)
        started = time.perf_counter()
        publisher = asyncio.create_task(run.publish_for_ever())
        await asyncio.gather(*(run.user(port) for _ in range(USERS)))
        run.is_over = True
        await publisher
        took = time.perf_counter() - started
        run.report(took)
    finally:
        await stop_balancer(control, grace_s=0.0)
        for server in servers:
            server.close()


class Changes:
    """What was allowed when, and what came."""

    def __init__(self, client: EmbeddedBalancerClient, addresses: dict[str, str], total: int) -> None:
        self._client, self._addresses = client, addresses
        self._left = self._total = total
        self._allowed: list[str] = [""]  # by generation
        self._in_force = 0  # the last generation whose publish has returned
        self._latencies_ms: list[float] = []
        self.counts: Counter[str] = Counter()
        self.is_over = False
        self._widest = 0  # targets that were allowed at some time during one request, at most

    async def publish(self) -> None:
        generation = len(self._allowed)
        at = generation * 2 % len(NAMES)
        pair = NAMES[at : at + 2]
        row = tuple(RoutableTarget(f"id-{n}", self._addresses[n], "healthy", new=True, sticky=True) for n in pair)
        nodes = (NodeTable("node-0", row), NodeTable("node-1", row))
        self._allowed.append(pair)
        started = time.perf_counter()
        await self._client.publish(RoutingTable(generation, nodes, stickiness=Stickiness(enabled=True)))
        self._latencies_ms.append((time.perf_counter() - started) * 1e3)
        self._in_force = generation

    async def publish_for_ever(self) -> None:
        while not self.is_over:
            await self.publish()

    async def user(self, port: int) -> None:
        """Keeps its connection and its newest cookie."""
        cookie = ""
        async with await Wire.to(port) as wire:
            while self._left > 0:
                self._left -= 1
                since = self._in_force
                answer = await wire.ask(get("/", Cookie=cookie) if cookie else get("/"))
                cookie = answer.cookie
                allowed = set().union(*self._allowed[since:])
                self.counts["failed"] += answer.status != 200
                self.counts["misrouted"] += answer.status == 200 and answer.body.decode() not in allowed
                self._widest = max(self._widest, len(allowed))

    def report(self, took: float) -> None:
        ordered = sorted(self._latencies_ms)
        say("Keep-alive requests with cookie jars while the table changes without pause:")
        say()
        say(
            "| requests | req/s | table changes | publish p50 / p99 ms | failed | to a disallowed target "
            "| targets allowed during a request, at most |"
        )
        say("|---|---|---|---|---|---|---|")
        p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        say(
            f"| {self._total} | {self._total / took:.0f} | {len(ordered)} | {p50:.1f} / {p99:.1f} | "
            f"{self.counts['failed']} | {self.counts['misrouted']} | {self._widest} of {len(NAMES)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000, help="while the table changes")
    given = parser.parse_args()
    say(f"{os.cpu_count()} CPUs, shared by client, balancer and backend; Python {sys.version.split()[0]}.")
    say()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(compare(directory, given))
        asyncio.run(change_under_load(directory, given.requests))


if __name__ == "__main__":
    main()
