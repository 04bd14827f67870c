"""What a session layer costs: CPU and latency a call, memory and Redis memory a session. Prints Markdown.

    python -m tests.load.sessions_bench [--rounds N] [--seconds S] [--only calls|idle]

1. One task of the sample server under each session strategy, and one Redis: `increment` (one operation of the tool's
   own store), 16 keep-alive connections, 32 sessions in turn. Subjects take turns; a call's CPU is the task's own.
2. Ten thousand sessions that are opened on two replicas, used once and left idle.

Needs wrk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from redis.asyncio import Redis

from rollproof.orchestrator.redis_server import provide_redis
from rollproof.strategies import STRATEGIES
from rollproof.subject import sample_root
from tests.load.measuring import Load, Rounds, Subject, measure, say, table
from tests.load.subjects import _child, free_port, wait_for_port

LEGACY = "2025-11-25"
INITIALIZE = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
ACCEPT = "application/json, text/event-stream"
SESSIONS = 32
ROWS = {
    "SDK sessions, state in Redis": ("redis-state", {}),
    "stateless + Redis": ("stateless", {}),
    "stateless, ids minted": ("stateless-minted", {}),
    "durable (mcp-persist)": ("durable", {}),
    "resilient": ("resilient", {}),
    "stateless + Redis, JSON": ("stateless", {"MCP_JSON_RESPONSE": "true"}),
    "resilient, JSON": ("resilient", {"MCP_JSON_RESPONSE": "true"}),
}
SCRIPT = """
local ids = {%s}
local bodies, n = {}, 0
for i, id in ipairs(ids) do
  bodies[i] = wrk.format("POST", "/mcp", {
    ["Content-Type"] = "application/json", ["Accept"] = "application/json, text/event-stream",
    ["MCP-Protocol-Version"] = "2025-11-25", ["Mcp-Session-Id"] = id,
  }, '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"increment","arguments":{"name":"n"}}}')
end
function request() n = n %% #ids + 1; return bodies[n] end
"""


@contextmanager
def replica(strategy: str, redis_url: str, log: Path, extra: Mapping[str, str] | None = None) -> Iterator[Subject]:
    """One task of the sample server under this strategy."""
    port = free_port()
    environment = {**os.environ, **STRATEGIES[strategy].environment, **(extra or {})}
    environment |= {"PORT": str(port), "LOG_LEVEL": "WARNING", "REDIS_URL": redis_url}
    with (
        log.open("ab") as out,
        _child([sys.executable, "-m", "server"], cwd=sample_root(), env=environment, stdout=out, stderr=out) as pid,
    ):
        wait_for_port(port)
        yield Subject(strategy, port, pid)


async def open_sessions(subject: Subject, count: int, at_once: int = 16) -> list[str]:
    """Session ids as this server issues them, else made here."""
    url = f"http://127.0.0.1:{subject.port}/mcp"
    headers = {"accept": ACCEPT, "mcp-protocol-version": LEGACY}
    ids: list[str] = []
    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=at_once)) as client:

        async def one(number: int) -> None:
            body = {"jsonrpc": "2.0", "id": number, "method": "initialize", "params": INITIALIZE}
            answer = await client.post(url, json=body, headers=headers)
            answer.raise_for_status()
            ids.append(answer.headers.get("mcp-session-id") or f"client-{uuid4()}")

        for start in range(0, count, at_once):
            await asyncio.gather(*(one(start + offset) for offset in range(min(at_once, count - start))))
    return ids


async def calls(directory: Path, given: argparse.Namespace) -> None:
    redis = await provide_redis(directory)
    try:
        with ExitStack() as running:
            subjects: list[tuple[Subject, Load]] = []
            for number, (name, (strategy, extra)) in enumerate(ROWS.items()):
                started = running.enter_context(replica(strategy, redis.url, directory / "server.log", extra))
                ids = await open_sessions(started, SESSIONS)
                script = directory / f"{number}.lua"
                script.write_text(SCRIPT % ", ".join(f'"{session}"' for session in ids))
                subjects.append((Subject(name, started.port, started.root), Load(given.seconds, 16, "/mcp", script)))
            samples: Rounds = {subject.name: [] for subject, _ in subjects}
            for turn in range(given.rounds):
                for subject, load in subjects if turn % 2 == 0 else reversed(subjects):
                    samples[subject.name].append(await asyncio.to_thread(measure, subject, load))
    finally:
        await redis.stop()
    say("## A call under each session strategy")
    say()
    for line in table(samples, ratios_to=("stateless + Redis",)):
        say(line)
    say()
    _say_cost(samples, "resilient", "stateless + Redis")
    _say_cost(samples, "resilient, JSON", "stateless + Redis, JSON")


def _say_cost(samples: Rounds, ours: str, theirs: str) -> None:
    ratios = sorted(a.cpu_us / b.cpu_us for a, b in zip(samples[ours], samples[theirs], strict=True))
    median = ratios[len(ratios) // 2]
    say(f"CPU of a call, {ours} to {theirs}: {median:.3f} (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})")


async def idle(directory: Path, given: argparse.Namespace) -> None:
    redis = await provide_redis(directory)
    client = Redis.from_url(redis.url)
    url = redis.url
    ttl = {"SESSION_TTL_SECONDS": str(given.ttl)}
    try:
        with (
            replica("resilient", url, directory / "server.log", ttl) as a,
            replica("resilient", url, directory / "server.log", ttl) as b,
        ):
            for each in (a, b):
                await open_sessions(each, 200)  # what the first requests load
            await client.flushdb()
            before = [_rss(each) for each in (a, b)]
            redis_before = (await client.info("memory"))["used_memory"]
            began = time.monotonic()
            halves = [await open_sessions(each, given.sessions // 2) for each in (a, b)]
            for each, ids in zip((b, a), halves, strict=True):
                await _use(each, ids)  # each at the other replica
            took = time.monotonic() - began
            grown = [_rss(each) - was for each, was in zip((a, b), before, strict=True)]
            in_redis = (await client.info("memory"))["used_memory"] - redis_before
            say(f"## {given.sessions} idle sessions on two replicas")
            say()
            here, there = sum(grown) / given.sessions / 1024, in_redis / given.sessions / 1024
            say(
                f"Opened, and used once at the other replica, in {took:.0f} s. Memory a session: {here:.1f} KiB in both"
            )
            say(f"replicas together, {there:.2f} KiB in Redis ({await client.dbsize()} keys).")
            if given.ttl <= 120:
                await asyncio.sleep(given.ttl + 5)
                left = (await client.info("memory"))["used_memory"] - redis_before
                say(f"{given.ttl} s later: {await client.dbsize()} keys, {left / 1024:.0f} KiB in Redis.")
    finally:
        await client.aclose()
        await redis.stop()


async def _use(subject: Subject, ids: list[str]) -> None:
    url = f"http://127.0.0.1:{subject.port}/mcp"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ping", "arguments": {}}}
    headers = {"accept": ACCEPT, "mcp-protocol-version": LEGACY}
    async with httpx.AsyncClient(timeout=30) as client:
        for start in range(0, len(ids), 16):
            posts = [
                client.post(url, json=body, headers=headers | {"mcp-session-id": session})
                for session in ids[start : start + 16]
            ]
            if any(answer.status_code != 200 for answer in await asyncio.gather(*posts)):
                raise SystemExit("a session was not known at the other replica")


def _rss(subject: Subject) -> int:
    return int(psutil.Process(subject.root).memory_info().rss)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--ttl", type=int, default=86_400, help="of an idle session; up to 120 s its end is waited for")
    parser.add_argument("--only", choices=("calls", "idle"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if given.only != "idle":
            await calls(Path(directory), given)
        if given.only != "calls":
            await idle(Path(directory), given)


if __name__ == "__main__":
    asyncio.run(main())
