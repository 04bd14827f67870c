"""Measures what the balancer costs before a real MCP server: calls/s bare, behind it, and behind plain nginx.

    python -m tests.load.bench_server [--seconds 5] [--connections 16] [--rounds 3]

One sample server (stateless HTTP), the tool `ping`, keep-alive POSTs of wrk with a sticky cookie, in turns; medians of
the rounds. Needs wrk, and nginx for its row.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rollproof.orchestrator.balancers.embedded import BalancerOptions, start_balancer, stop_balancer
from rollproof.subject import sample_root
from tests.load.bench_balancer import (
    Sample,
    Subject,
    cpu_s,
    found,
    free_port,
    milliseconds,
    nginx,
    say,
    sticky_cookie,
    two_targets,
    wait_for_port,
    where,
)

CALL = """
wrk.method = "POST"
wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ping","arguments":{}}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["MCP-Protocol-Version"] = "2025-11-25"
wrk.headers["Mcp-Session-Id"] = "client-bench"
wrk.headers["Cookie"] = "{cookie}"
"""


@contextmanager
def sample_server(directory: Path) -> Iterator[int]:
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "MCP_STATELESS_HTTP": "true", "LOG_LEVEL": "WARNING"}
    environment.pop("REDIS_URL", None)
    with (directory / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=sample_root(), env=environment, stdout=log, stderr=log
        )
        try:
            wait_for_port(port)
            yield port
        finally:
            child.terminate()
            child.wait()


def measure(subject: Subject, script: Path, given: argparse.Namespace) -> Sample:
    """One round. Raises SystemExit if an answer was not 2xx."""
    command = ["wrk", "-t1", f"-c{given.connections}", f"-d{given.seconds:g}s", "--latency", "-s", str(script)]
    processes = subject.processes()
    before = cpu_s(processes)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{subject.port}/mcp"], capture_output=True, text=True, check=True
    ).stdout
    used = cpu_s(processes) - before
    if "Non-2xx" in done or "Socket errors" in done:
        raise SystemExit(f"{subject.name}: not every call was answered:\n{done}")
    calls = int(found(r"(\d+) requests in", done))
    return Sample(
        per_second=float(found(r"Requests/sec:\s+([\d.]+)", done)),
        p50_ms=milliseconds(found(r"\n\s+50%\s+(\S+)", done)),
        p99_ms=milliseconds(found(r"\n\s+99%\s+(\S+)", done)),
        cpu_us=used / calls * 1e6 if processes else float("nan"),
        failed=0,
    )


async def compare(directory: Path, given: argparse.Namespace) -> None:
    script, control = directory / "call.lua", directory / "c.sock"
    with ExitStack() as running:
        server = running.enter_context(sample_server(directory))
        client = await start_balancer(BalancerOptions(directory / "access.log", control=control))
        try:
            await client.publish(two_targets(server))
            port, process = await where(client)
            script.write_text(CALL.replace("{cookie}", await sticky_cookie(port)))
            subjects = [Subject("bare server", server, list), Subject("embedded balancer", port, lambda: [process])]
            if shutil.which("nginx"):
                proxy = free_port()
                upstream = f"upstream backend {{ server 127.0.0.1:{server}; keepalive 128; }}"
                pass_on = "proxy_pass http://backend; proxy_buffering off; proxy_http_version 1.1; "
                pass_on += 'proxy_set_header Connection "";'
                master = running.enter_context(nginx(directory, "proxy", proxy, pass_on, upstream))
                subjects.append(Subject("plain nginx proxy", proxy, master.children))
            samples: dict[str, list[Sample]] = {subject.name: [] for subject in subjects}
            for _ in range(given.rounds):
                for subject in subjects:
                    samples[subject.name].append(await asyncio.to_thread(measure, subject, script, given))
            report(samples, given)
        finally:
            await stop_balancer(control, grace_s=0.0)


def report(samples: dict[str, list[Sample]], given: argparse.Namespace) -> None:
    say(f"{given.connections} keep-alive connections, medians of {given.rounds} rounds of {given.seconds:g} s:")
    say()
    say("| | calls/s | of bare, round by round | p50 ms | p99 ms | CPU us/call |")
    say("|---|---|---|---|---|---|")
    bare = samples["bare server"]
    for name, rounds in samples.items():
        ratio = statistics.median(
            ours.per_second / theirs.per_second for ours, theirs in zip(rounds, bare, strict=True)
        )
        numbers = [
            statistics.median(getattr(x, f) for x in rounds) for f in ("per_second", "p50_ms", "p99_ms", "cpu_us")
        ]
        cpu = "-" if name == "bare server" else f"{numbers[3]:.0f}"
        say(f"| {name} | {numbers[0]:.0f} | {ratio:.3f} | {numbers[1]:.1f} | {numbers[2]:.1f} | {cpu} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not on PATH: apt install wrk, brew install wrk")
    say(f"{os.cpu_count()} CPUs, shared by client, balancer and server; Python {sys.version.split()[0]}.")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(compare(Path(directory), given))


if __name__ == "__main__":
    main()
