"""Measures lb/ beside nginx of the same build without stickiness, the embedded balancer and the bare backend.

    python -m tests.load.bench_nginx [--seconds 3] [--rounds 3] [--connections 64] [--backend H:P] [--image NAME]

The default nginx is the one that `start_nginx` would take. `--image` measures an image of lb/Dockerfile instead, in
the machine's own network. Every request carries a sticky cookie, the access log is on, and there are two nodes. In
turns, medians of the rounds; CPU is user and system time of all of a subject's processes, by requests answered.
The backend is an nginx that returns a constant, or whatever `--backend` names. Needs wrk.
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
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rollproof.core.errors import Temporary
from rollproof.core.routing_table import NodeTable, RoutableTarget, RoutingTable
from rollproof.core.settings import Stickiness
from rollproof.orchestrator.balancers.embedded import BalancerOptions, start_balancer, stop_balancer
from rollproof.orchestrator.balancers.nginx import NginxBalancerClient, NginxOptions, start_nginx, stop_nginx
from rollproof.orchestrator.balancers.nginx_binary import find_nginx
from rollproof.testing.balancer_wire import Wire, get

_PLAIN = """daemon off; {user} worker_processes 1; pid {directory}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {directory}/{name}.b; proxy_temp_path {directory}/{name}.p;
    upstream backend {{ server {backend}; keepalive 512; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}
}}
"""
_PASS = 'proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;'


@dataclass(frozen=True)
class Subject:
    """Something that answers on a port; the processes below `root` are what its CPU and memory are."""

    name: str
    port: int
    root: int = 0


@dataclass(frozen=True)
class Sample:
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    memory_mib: float
    failed: int


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def family(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def measure(subject: Subject, cookie: str, seconds: int, connections: int) -> Sample:
    processes = family(subject.root) if subject.root else []
    before = _cpu_s(processes)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Cookie: {cookie}"]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{subject.port}/"], capture_output=True, text=True, check=True
    ).stdout
    used = _cpu_s(processes) - before
    requests = int(_found(r"(\d+) requests in", said))
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", said)))
    return Sample(
        float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        _milliseconds(_found(r"\n\s+50%\s+(\S+)", said)),
        _milliseconds(_found(r"\n\s+99%\s+(\S+)", said)),
        used / requests * 1e6 if processes else float("nan"),
        sum(_memory(p) for p in processes) / 2**20,
        failed,
    )


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def _memory(process: psutil.Process) -> int:
    """Its share of what it has in memory: pages that several have count once."""
    with suppress(psutil.Error, AttributeError):
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said no {pattern!r}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]  # wrk's own form
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


# --- the subjects ---------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, directory: Path, given: argparse.Namespace) -> None:
        self.directory, self.given = directory, given
        self.running = ExitStack()

    @contextmanager
    def plain(self, name: str, location: str, backend: str = "127.0.0.1:9", *, image: str = "") -> Iterator[Subject]:
        """An nginx with one worker and one location."""
        port, slug = free_port(), name.replace(" ", "-")
        user = "user root;" if os.geteuid() == 0 and not image else ""
        config = self.directory / f"{slug}.conf"
        config.write_text(
            _PLAIN.format(
                user=user,
                directory="/tmp" if image else self.directory,
                name=slug,
                backend=backend,
                port=port,
                location=location,
            )
        )
        if image:
            with self.container(image, "--entrypoint=nginx", f"-v{config}:/c:ro", words=["-c", "/c"]) as pid:
                wait_for_port(port)
                yield Subject(name, port, pid)
            return
        program = str(find_nginx(self.given.nginx).path)
        child = subprocess.Popen([program, "-p", str(self.directory), "-c", str(config), "-e", "stderr"])
        try:
            wait_for_port(port)
            yield Subject(name, port, child.pid)
        finally:
            child.terminate()
            child.wait()

    @contextmanager
    def container(self, image: str, *options: str, words: list[str]) -> Iterator[int]:
        """A container in this machine's network; yields its first process."""
        sandbox = ["--network=host", "--tmpfs=/run/alb:mode=1777", "--cap-drop=ALL", "--cap-add=SYS_PTRACE"]
        found = subprocess.run(
            ["docker", "run", "-d", *sandbox, *options, image, *words], capture_output=True, text=True, check=True
        ).stdout.strip()
        try:
            inspect = ["docker", "inspect", "-f", "{{.State.Pid}}", found]
            yield int(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
        finally:
            subprocess.run(["docker", "rm", "-f", found], capture_output=True, check=False)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def two_targets(backend: str) -> RoutingTable:
    row = tuple(RoutableTarget(f"10.0.0.{n}:8000", backend, "healthy", new=True, sticky=True) for n in (1, 2))
    return RoutingTable(1, (NodeTable("node-0", row), NodeTable("node-1", row)), stickiness=Stickiness(enabled=True))


async def ready(client: NginxBalancerClient, backend: str) -> int:
    """Publish, and return the port."""
    async with asyncio.timeout(15):
        while True:
            with suppress(Temporary):
                health = await client.health()
                break
            await asyncio.sleep(0.05)
    await client.publish(two_targets(backend))
    return int(str(health["listen"]).rpartition(":")[2])


async def compare(directory: Path, given: argparse.Namespace) -> None:
    bench = Bench(directory, given)
    async with AsyncExitStack() as stack:
        if given.backend:
            backend = str(given.backend)
            bare = Subject("bare backend", int(backend.rpartition(":")[2]))
        else:
            bare = stack.enter_context(bench.plain("bare backend", "return 200 'hello';"))
            backend = f"127.0.0.1:{bare.port}"
            bare = Subject(bare.name, bare.port)
        plain = stack.enter_context(bench.plain("plain nginx", _PASS, backend, image=given.image))
        subjects = [bare, plain, await _alb(bench, stack, backend), await _embedded(bench, stack, backend)]
        samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
        single: dict[str, Sample] = {}
        for turn in range(given.rounds):
            for subject in subjects if turn % 2 == 0 else reversed(subjects):
                cookie = await _cookie(subject.port)
                sample = await asyncio.to_thread(measure, subject, cookie, given.seconds, given.connections)
                samples[subject.name].append(sample)
        for subject in subjects:
            single[subject.name] = await asyncio.to_thread(measure, subject, await _cookie(subject.port), 2, 1)
        report(samples, single, given)


async def _alb(bench: Bench, stack: AsyncExitStack, backend: str) -> Subject:
    name, given = "nginx with lb/", bench.given
    if given.image:
        control = f"127.0.0.1:{free_port()}"
        words = ["--listen", f"127.0.0.1:{free_port()}", "--control", control, "--slot", backend]
        root = stack.enter_context(bench.container(given.image, words=words))
        return Subject(name, await ready(NginxBalancerClient(control), backend), root)
    path = bench.directory / "n.sock"
    options = NginxOptions(bench.directory / "n.log", path, binary=given.nginx, slots=(backend,))
    client = await start_nginx(options)
    stack.push_async_callback(stop_nginx, path, grace_s=0.0)
    return Subject(name, await ready(client, backend), int((await client.health())["pid"]))


async def _embedded(bench: Bench, stack: AsyncExitStack, backend: str) -> Subject:
    path = bench.directory / "e.sock"
    client = await start_balancer(BalancerOptions(bench.directory / "e.log", control=path))
    stack.push_async_callback(stop_balancer, path, grace_s=0.0)
    health = await client.health()
    await client.publish(two_targets(backend))
    return Subject("embedded balancer", int(str(health["listen"]).rpartition(":")[2]), int(health["pid"]))


async def _cookie(port: int) -> str:
    async with await Wire.to(port) as wire:
        return (await wire.ask(get("/"))).cookie or "none=1"


def report(samples: dict[str, list[Sample]], single: dict[str, Sample], given: argparse.Namespace) -> None:
    def median(name: str, field: str) -> float:
        return float(statistics.median(getattr(sample, field) for sample in samples[name]))

    say(f"{given.connections} connections, medians of {given.rounds} rounds of {given.seconds} s:")
    say()
    say("| | req/s | p50 / p99 ms | CPU us/request (each round) | MiB | 1 connection p50 ms | failed |")
    say("|---|---|---|---|---|---|---|")
    for name, rounds in samples.items():
        each = ", ".join(f"{s.cpu_us:.0f}" for s in rounds)
        cpu = "-" if "nan" in each else f"{median(name, 'cpu_us'):.0f} ({each})"
        latency = f"{median(name, 'p50_ms'):.2f} / {median(name, 'p99_ms'):.2f}"
        memory = f"{median(name, 'memory_mib'):.0f}" if median(name, "memory_mib") else "-"
        failed = sum(s.failed for s in rounds) + single[name].failed
        say(
            f"| {name} | {median(name, 'per_second'):.0f} | {latency} | {cpu} | {memory} "
            f"| {single[name].p50_ms:.2f} | {failed} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nginx", default="", help="the program")
    parser.add_argument("--image", default="", help="of lb/Dockerfile")
    parser.add_argument("--backend", default="", metavar="HOST:PORT", help="instead of a constant")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH: apt install wrk")
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(compare(Path(name), given))


if __name__ == "__main__":
    main()
